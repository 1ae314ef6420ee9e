package rank

import (
	"millrace/recommend/association"
	"millrace/recommend/pairs"
	"millrace/recommend/sequence"
	"millrace/view"
)

// rowViews are the views whose rows the sources read.
var rowViews = [...]string{fromNeighbors: association.ViewNeighbors, fromSequence: sequence.View}

// eachRow calls fn for the neighbours or followers of an item that may be
// recommended, strongest first, with each one's share of all the pairs that
// the item is in.
func (g *gathering) eachRow(from source, item string, fn func(c *candidate, share float64)) {
	row, ok := view.Get[*pairs.Partners](g.views, rowViews[from], item)
	if !ok {
		return
	}
	total := row.Total()
	for i, left := 0, enoughItems; i < min(rowItems, row.Len()) && left > 0; i++ {
		if c := g.candidate(row.Item(i), row.Hash(i)); c != nil {
			fn(c, row.Weight(i)/total)
			left--
		}
	}
}
