package event

import (
	"testing"
	"time"
)

func TestWindowsAreAlignedToTheEpoch(t *testing.T) {
	for _, c := range []struct{ at, size, want Time }{
		{0, Minute, 0},
		{Minute - 1, Minute, 0},
		{Minute, Minute, Minute},
		{90 * Second, Minute, Minute},
		{-1, Minute, -Minute},
		{-Minute, Minute, -Minute},
		{-Minute - 1, Minute, -2 * Minute},
	} {
		if got := WindowStart(c.at, c.size); got != c.want {
			t.Errorf("the window of %d ms that holds %d begins at %d, want %d", c.size, c.at, got, c.want)
		}
	}
}

func TestTimeIsWrittenAsRFC3339(t *testing.T) {
	for at, want := range map[Time]string{
		0:                 "1970-01-01T00:00:00.000Z",
		1_700_000_000_123: "2023-11-14T22:13:20.123Z",
		-1:                "1969-12-31T23:59:59.999Z",
		MinTime:           "-inf",
		MaxTime:           "+inf",
	} {
		if got := at.String(); got != want {
			t.Errorf("%d is written %s, want %s", int64(at), got, want)
		}
	}
	wall := time.Date(2023, 11, 14, 23, 13, 20, 123_999_999, time.FixedZone("CET", 3600))
	if got := FromGo(wall); got != 1_700_000_000_123 || !got.Go().Equal(wall.Truncate(time.Millisecond)) {
		t.Errorf("%v is %v", wall, got)
	}
}

func TestCohort(t *testing.T) {
	for _, c := range []struct {
		user *User
		want string
	}{
		{nil, ""},
		{&User{}, ""},
		{&User{Age: 30}, "age:25-34"},
		{&User{Gender: "f"}, "gender:f"},
		{&User{Age: 30, Gender: "f"}, "age:25-34/gender:f"},
	} {
		if got := c.user.Cohort(); got != c.want {
			t.Errorf("the cohort of %+v is %q, want %q", c.user, got, c.want)
		}
	}
	for age, want := range map[int]string{
		-1: "", 0: "", 1: "under-18", 17: "under-18", 18: "18-24", 24: "18-24", 25: "25-34", 34: "25-34", 35: "35-44",
		44: "35-44", 45: "45-49", 49: "45-49", 50: "50-55", 55: "50-55", 56: "56+", 150: "56+",
	} {
		if got := AgeBand(age); got != want {
			t.Errorf("the band of %d years is %q, want %q", age, got, want)
		}
	}
}

func TestCategoriesOfAnUnknownItem(t *testing.T) {
	if got := (&Enriched{}).Categories(); got != nil {
		t.Errorf("categories %q, want none", got)
	}
	if got := (&Enriched{ItemInfo: &Item{Categories: []string{"crime"}}}).Categories(); len(got) != 1 {
		t.Errorf("categories %q, want the item's", got)
	}
}
