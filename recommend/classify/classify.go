// Package classify publishes events anew, sorted into topics by their kind and
// by who they are of: the cleaned stream, without repeats, for whoever wants only
// a part of it.
//
// Options.Topics are templates. Each event that clean lets pass is published once
// for each template of which all placeholders are known for it: {type} is the
// event type, {age} the age band of its user (event.AgeBands), {gender} the
// gender. What is known of a user is what the catalogue knew at that point of the
// log. Characters that no topic may have are underscores in its name (56+ is
// 56_). The key is the user's id, the value the event as POST /v1/events takes
// it, so that all that is published of a user to a topic is in the order of the
// source, and such a topic can be a source again.
//
// The stage keeps nothing. Where nobody takes what it publishes it does nothing.
package classify

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"millrace/event"
	"millrace/operator"
	"millrace/operator/publish"
)

// The names of the stage and of its port.
const (
	StageName   = "classify"
	PortRecords = "records" // publish.Record
)

const stateVersion = 1 // of nothing

// ErrOptions is the error of options that can not be.
var ErrOptions = errors.New("classify: invalid options")

// Options of the stage.
type Options struct {
	// Topics are the templates.
	Topics []string `json:"topics"`
}

// Defaults are a topic for each type, each type and age band, and each type and
// gender: view, view.age.25-34, view.gender.f.
func Defaults() Options {
	return Options{Topics: []string{"{type}", "{type}.age.{age}", "{type}.gender.{gender}"}}
}

// placeholders are what templates may name.
var placeholders = []string{"{type}", "{age}", "{gender}"}

var literal = regexp.MustCompile(`^[a-zA-Z0-9._-]*$`)

// Validate returns an ErrOptions that says what is wrong, or nil.
func (o Options) Validate() error {
	if len(o.Topics) == 0 || len(o.Topics) > 100 {
		return fmt.Errorf("%w: %d topics: want 1 to 100", ErrOptions, len(o.Topics))
	}
	for i, t := range o.Topics {
		rest := t
		for _, p := range placeholders {
			rest = strings.ReplaceAll(rest, p, "")
		}
		switch {
		case t == "" || len(t) > 100 || !literal.MatchString(rest):
			return fmt.Errorf("%w: topic %q: want up to 100 letters, digits, dots, _, - and the placeholders %s", ErrOptions, t, strings.Join(placeholders, ", "))
		case slices.Contains(o.Topics[:i], t):
			return fmt.Errorf("%w: topic %q is there twice", ErrOptions, t)
		}
	}
	return nil
}

// Add chains the stage to clean's events.
func Add(in operator.Stream[event.Enriched], o Options) operator.Handle {
	if err := o.Validate(); err != nil {
		in.Refuse(err)
	}
	return operator.Chain(in, operator.Stage[string, struct{}, event.Enriched]{
		Name: StageName, Subject: operator.SubjectUser, Version: stateVersion,
		Key: func(e *event.Enriched) string { return e.User },
		New: func(p *operator.Ports) operator.Operator[string, struct{}, event.Enriched] {
			return &classifier{options: o, out: operator.Out[publish.Record](p, PortRecords), known: map[class][]string{}}
		},
	})
}

// class is what decides an event's topics.
type class struct{ kind, age, gender string }

type classifier struct {
	options Options
	out     *operator.Output[publish.Record]
	known   map[class][]string // topics
}

// mostKnown bounds the classes that are remembered: genders may be any text.
const mostKnown = 10_000

// Fold publishes an event.
func (o *classifier) Fold(c *operator.Context, user string, _ *struct{}, e *event.Enriched) {
	c.Unchanged()
	if !o.out.Connected() {
		return
	}
	topics := o.topics(e)
	if len(topics) == 0 {
		return
	}
	value := event.AppendJSON(nil, &e.Event)
	for _, topic := range topics {
		o.out.Emit(c.Time, publish.Record{Topic: topic, Key: user, Value: value})
	}
}

// topics are where an event goes.
func (o *classifier) topics(e *event.Enriched) []string {
	k := class{kind: e.Type}
	if u := e.UserInfo; u != nil {
		k.age, k.gender = event.AgeBand(u.Age), u.Gender
	}
	topics, ok := o.known[k]
	if !ok {
		if len(o.known) >= mostKnown {
			clear(o.known)
		}
		topics = o.options.topicsOf(k)
		o.known[k] = topics
	}
	return topics
}

func (o Options) topicsOf(k class) []string {
	var list []string
	for _, t := range o.Topics {
		if k.age == "" && strings.Contains(t, "{age}") || k.gender == "" && strings.Contains(t, "{gender}") {
			continue
		}
		list = append(list, strings.NewReplacer("{type}", publish.TopicPart(k.kind), "{age}", publish.TopicPart(k.age), "{gender}", publish.TopicPart(k.gender)).Replace(t))
	}
	return list
}

// Timer is never called.
func (o *classifier) Timer(*operator.Context, string, *struct{}, event.Time) {}

// Append writes nothing: there is no state.
func (o *classifier) Append(dst []byte, _ *struct{}) []byte { return dst }

// Load reads nothing.
func (o *classifier) Load(uint8, []byte, *struct{}) error { return nil }
