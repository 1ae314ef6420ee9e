package outbox

import "testing"

func TestNews(t *testing.T) {
	closed := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	n := newNews()
	one, other := n.coming(), n.coming()
	if closed(one) || closed(other) {
		t.Error("news before any was told")
	}
	n.tell()
	if !closed(one) || !closed(other) {
		t.Error("somebody who waited was not told")
	}
	if closed(n.coming()) {
		t.Error("old news are told again")
	}
}
