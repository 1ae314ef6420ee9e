// Package pairs counts which items go together, for operators that answer
// "what goes with this item": neighbours and sequence.
//
// # What is counted
//
// A user's items form a trail, the latest last. When a user turns to an item
// e, each earlier item q of the trail at distance d (1 for the one just
// before) makes a pair with e that weighs 1/d. So nearness counts, as in the
// sequential rules of Ludewig and Jannach, "Evaluation of Session-based
// Recommendation Algorithms" (UMUAI 2018, section 3.2.3, with linear
// distance weights replaced by their reciprocals). A trail stage, keyed by
// user, makes the pairs; a row stage, keyed by item, sums them up and keeps the
// strongest partners of each item ready in a view. Contributions to a row are
// merged before they cross the exchange.
//
// # Decay in panes
//
// A pair of age a weighs 2^(-a/H) of a fresh one, H being the half-life. Time
// is cut into panes, by default of three days: all pairs of a pane have the same
// age. The weight of a partner in a row is
//
//	sum over panes p of count(p) · 2^(start(p)/H)
//
// in forward decay (package decay), so that closing a pane touches only the
// partners that were counted in it. Late pairs count in the first pane that
// is still open for them, scaled down by their age in fixed point.
//
// # Order
//
// A row is fed by many users, so its pairs come in any order, except that
// none comes before a timer that has fired. Counts within a pane are integers
// and saturate, which commutes. A pane is closed by a timer at its end, when
// nothing can be added to it any more: its counts are multiplied by the
// pane's growth and added to the closed weights in float32, once a pane and
// partner, panes in order of time. So a row, its bytes and its view are
// functions of the set of pairs and of the timers that have fired, bit for
// bit.
//
// # Bounds
//
// When a pane has closed and more than twice Options.Capacity partners are
// left, the Capacity heaviest stay (ties by id). In an open pane every
// partner that has closed weight is counted, and besides at most twice
// Capacity new ones, which a lottery chooses: those whose ids have the
// smallest hashes with the start of the pane. Which partners a set of pairs
// keeps does not depend on their order: a partner that is among the smallest
// of all has been among the smallest ever since it came, so its count is
// complete. Which of a row's partners have closed weight is known once the
// pane before has closed; until then (for a new item, or one that was quiet
// for a pane) the row works in slices of a 24th of a pane, which are not
// bounded except by what happens in one.
//
// A row takes 8 bytes for each partner with closed weight, of which there are
// at most 2·Capacity between panes and 4·Capacity while one closes, for which
// the row keeps the room; 11 to 22 for each partner in an open pane, of which
// there are at most 4·Capacity in a settled one; 16 for each of at most
// 2·Capacity in a lottery; 8 for each ranked one, and as much in the view; and
// at most 128 to remember who has changed. At the default capacity of 256 a
// full row takes 2 to 12 KB at rest. While it is extremely hot it takes at most
// 37 KB (10 closed, 16 in the open pane, which has 2,048 cells then, 8 in its
// lottery, 2 ranked) besides open slices and room for what a single block
// brings. Each instance also keeps one copy of every id that it has
// seen, about 80 bytes, and 4 for each sending shard.
//
// What pruning costs: on 400,000 ratings of MovieLens, of the 10 neighbours
// that an unbounded row would rank first a capacity of 256 finds 99.7 %, of
// the first 100 98.7 %; 128 finds 97.9 and 93.7 %, 512 finds 100 and 99.95 %.
package pairs
