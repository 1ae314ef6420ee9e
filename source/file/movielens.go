package file

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"millrace/event"
	"millrace/source"
)

var doubleColon = []byte("::")

const (
	expectedRatings = "UserID::MovieID::Rating::Timestamp"
	expectedMovies  = "MovieID::Title::Genres"
	expectedUsers   = "UserID::Gender::Age::Occupation::Zip"
	expectedNumber  = "a number"
	expectedTime    = "a time after 1970 and before 2200: RFC 3339, or a number of seconds (below 1e11) or milliseconds"
)

// ratings reads ratings.dat: UserID::MovieID::Rating::Timestamp, in seconds.
type ratings struct {
	users, movies names
	event         event.Event
}

func newRatings() *ratings { return &ratings{users: newNames(), movies: newNames()} }

func (d *ratings) decode(line []byte, into *source.Record) *event.FieldError {
	if len(line) == 0 {
		return nil
	}
	user, rest, ok1 := bytes.Cut(line, doubleColon)
	movie, rest, ok2 := bytes.Cut(rest, doubleColon)
	rating, stamp, ok3 := bytes.Cut(rest, doubleColon)
	if !ok1 || !ok2 || !ok3 {
		return fault("", expectedRatings, line)
	}
	value, ok := number(rating)
	if !ok {
		return fault("value", expectedNumber, rating)
	}
	at, ok := event.ParseTime(string(stamp))
	if !ok {
		return fault("timestamp", expectedTime, stamp)
	}
	d.event = event.Event{
		User: d.users.of(user), Item: d.movies.of(movie), Type: event.TypeRating,
		Value: value, HasValue: true, Time: at,
	}
	into.Event = &d.event
	return nil
}

// movies reads movies.dat: MovieID::Title::Genres, in ISO-8859-1 in the older
// sets and in UTF-8 in MovieLens 10M.
type movies struct{}

func (movies) decode(line []byte, into *source.Record) *event.FieldError {
	if len(line) == 0 {
		return nil
	}
	id, rest, ok := bytes.Cut(line, doubleColon)
	end := bytes.LastIndex(rest, doubleColon)
	if !ok || end < 0 || len(id) == 0 {
		return fault("", expectedMovies, line)
	}
	return putItem(into, movie(string(id), text(rest[:end]), rest[end+len(doubleColon):]))
}

// movie is the catalogue's record of a film; the year at the end of its title
// becomes metadata.
func movie(id, title string, genres []byte) *event.Item {
	item := &event.Item{ID: id, Title: title, Metadata: year(title)}
	if string(genres) != "(no genres listed)" {
		item.Categories = list(genres)
	}
	return item
}

// year is the metadata of a title that ends in a year in brackets, or nil.
func year(title string) []byte {
	title = strings.TrimSpace(title)
	open := len(title) - len("(1995)")
	if open < 0 || title[open] != '(' || title[len(title)-1] != ')' {
		return nil
	}
	year, err := strconv.ParseUint(title[open+1:len(title)-1], 10, 16)
	if err != nil || year < 1000 {
		return nil
	}
	return fmt.Appendf(nil, `{"year":%d}`, year)
}

// occupations are what the numbers in users.dat stand for.
var occupations = [...]string{
	"other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service",
	"doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer",
	"retired", "sales/marketing", "scientist", "self-employed", "technician/engineer", "tradesman/craftsman",
	"unemployed", "writer",
}

// people reads users.dat: UserID::Gender::Age::Occupation::Zip. The age is the
// lowest of its band, except that 1 stands for under 18. The zip code is not
// kept.
type people struct{}

func (people) decode(line []byte, into *source.Record) *event.FieldError {
	if len(line) == 0 {
		return nil
	}
	fields := bytes.Split(line, doubleColon)
	if len(fields) != 5 || len(fields[0]) == 0 {
		return fault("", expectedUsers, line)
	}
	age, ok := whole(fields[2])
	if !ok {
		return fault("age", expectedAge, fields[2])
	}
	user := &event.User{ID: string(fields[0]), Age: age, Gender: string(fields[1])}
	if n, err := strconv.Atoi(string(fields[3])); err == nil && n >= 0 && n < len(occupations) {
		user.Labels = []string{"occupation:" + occupations[n]}
	} else if len(fields[3]) > 0 {
		user.Labels = []string{"occupation:" + string(fields[3])}
	}
	return putUser(into, user)
}
