package publish_test

import (
	"testing"

	"millrace/operator/publish"
)

func TestTopicPart(t *testing.T) {
	for text, want := range map[string]string{
		"view": "view", "25-34": "25-34", "56+": "56_", "": "_", "a.b/c d": "a_b_c_d", "女": "___", "F": "F",
	} {
		if got := publish.TopicPart(text); got != want {
			t.Errorf("TopicPart(%q) is %q, want %q", text, got, want)
		}
	}
}
