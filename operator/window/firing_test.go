package window

import (
	"fmt"
	"testing"
)

func TestFiringsHaveNames(t *testing.T) {
	if got := fmt.Sprint(OnTime, Early, Late, Firing(9)); got != "on time early late Firing(9)" {
		t.Errorf("%s", got)
	}
}
