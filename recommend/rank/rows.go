package rank

import (
	"millrace/recommend/association"
	"millrace/recommend/pairs"
	"millrace/recommend/sequence"
	"millrace/view"
)

// rowViews are the views whose rows the sources read.
var rowViews = [...]string{fromNeighbors: association.ViewNeighbors, fromSequence: sequence.View}

// eachRow calls fn for the neighbours or followers of an item, strongest
// first, with each one's share of all the pairs that the item is in.
func (g *gathering) eachRow(from source, item string, most int, fn func(item string, hash uint64, share float64)) {
	row, ok := view.Get[*pairs.Partners](g.views, rowViews[from], item)
	if !ok {
		return
	}
	total := row.Total()
	for i := range min(most, row.Len()) {
		fn(row.Item(i), row.Hash(i), row.Weight(i)/total)
	}
}
