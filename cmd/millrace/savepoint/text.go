package savepoint

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"

	"millrace/serve/api"
)

// listText is a list for people.
func listText(list []api.SavepointRecord, where string) string {
	if len(list) == 0 {
		return "no savepoints in " + where + "\n"
	}
	return ListText(list)
}

// ListText is savepoints for people, as a table.
func ListText(list []api.SavepointRecord) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "ID\tKIND\tSTATE\tBLOCK\tEVENTS\tSTREAM TIME\tCREATED\tSIZE\tRELEASE\n")
	for _, r := range list {
		if r.Created == "" {
			fmt.Fprintf(w, "%s\t%s\t%s: %s\n", r.ID, r.Kind, r.State, cmp.Or(r.Reason, "asked for at "+r.Asked))
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\n",
			r.ID, r.Kind, r.State, r.Block, r.Events, cmp.Or(r.StreamTime, "-"), r.Created, Size(uint64(r.Bytes)), r.Release)
	}
	_ = w.Flush() // to memory
	return b.String()
}

// describeText is one savepoint for people.
func describeText(r api.SavepointRecord) string {
	var b strings.Builder
	if r.Created == "" {
		fmt.Fprintf(&b, "%s %s: %s %s\n", r.Kind, r.ID, r.State, r.Reason)
		return b.String()
	}
	fmt.Fprintf(&b, "%s %s: block %d, %d events, %s in %d files\n", r.Kind, r.ID, r.Block, r.Events, Size(uint64(r.Bytes)), r.Files)
	fmt.Fprintf(&b, "made %s by release %s; stream time %s, watermark %s\n", r.Created, r.Release, cmp.Or(r.StreamTime, "none"), cmp.Or(r.Watermark, "none"))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(r.Stages) > 0 {
		fmt.Fprintf(w, "STAGE\tSTATE VERSION\tKEYS\tBYTES\n")
	}
	for _, s := range r.Stages {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", s.Name, s.StateVersion, s.Keys, Size(s.Bytes))
	}
	_ = w.Flush() // to memory
	return b.String()
}

// Size is a number of bytes for people.
func Size(n uint64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
