package recommend

import (
	"millrace/operator"
	"millrace/recommend/activity"
	"millrace/recommend/association"
	"millrace/recommend/cohort"
	"millrace/recommend/heat"
	"millrace/recommend/pairs"
	"millrace/recommend/profile"
	"millrace/recommend/sequence"
	"millrace/recommend/session"
	"millrace/view"
)

// Views are the decoders of all views that the operators write, for processes
// that get them as bytes.
func Views() view.Decoders {
	return view.Decoders{
		activity.ViewName:            decoder(activity.DecodeView),
		session.ViewName:             decoder(session.DecodeView),
		profile.ViewName:             decoder(profile.DecodeView),
		association.ViewAssociations: decoder(association.ReadAssociations),
		association.ViewNeighbors:    decoder(pairs.ReadPartners),
		sequence.View:                decoder(pairs.ReadPartners),
		cohort.ViewName:              decoder(cohort.Decode),
		heat.HeatView:                decoder(heat.DecodeHeat),
		heat.TrendingView:            decoder(heat.DecodeTrending),
	}
}

// decoder forgets which type a decoder makes. A value that can not be read is
// no value, and not one whose pointer is nil.
func decoder[V operator.Value](decode func([]byte) (V, error)) view.Decoder {
	return func(b []byte) (operator.Value, error) {
		v, err := decode(b)
		if err != nil {
			return nil, err
		}
		return v, nil
	}
}
