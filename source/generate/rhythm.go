package generate

import "millrace/event"

// hourly is the rate of each hour of the day (UTC) in thousandths of the mean:
// a trough at four, a rise through the day, a peak at nine in the evening.
// They sum to 24,000.
var hourly = [24]int64{
	560, 360, 260, 210, 200, 250, 400, 650, 880, 1030, 1120, 1170,
	1230, 1210, 1180, 1170, 1220, 1330, 1500, 1690, 1810, 1770, 1560, 1240,
}

// rhythm is the rate at that moment as a multiple of the mean, a straight line
// from the middle of each hour to the middle of the next.
func rhythm(t event.Time) float64 {
	const hour = int64(event.Hour)
	from := event.WindowStart(t-event.Hour/2, event.Hour)
	into := int64(t-event.Hour/2) - int64(from)
	h := (int64(from)/hour%24 + 24) % 24
	permille := (hourly[h]*(hour-into) + hourly[(h+1)%24]*into) / hour
	return float64(permille) / 1000
}
