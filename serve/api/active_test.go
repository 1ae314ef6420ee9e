package api

import (
	"fmt"
	"slices"
	"testing"
)

func TestActiveUsers(t *testing.T) {
	var a active
	for i := range 30 {
		a.add(fmt.Sprint(i))
	}
	if l := a.list(); len(l) != maxActive || l[0] != "29" || l[maxActive-1] != "10" {
		t.Errorf("the latest of 30 users are %v", l)
	}
	a.add("15")
	a.add("29")
	a.add("29")
	if l := a.list(); len(l) != maxActive || !slices.Equal(l[:3], []string{"29", "15", "28"}) {
		t.Errorf("those who come back are first: %v", l)
	}
	a.forget("29")
	if l := a.list(); len(l) != maxActive-1 || slices.Contains(l, "29") {
		t.Errorf("29 is not forgotten: %v", l)
	}
}
