package api

import (
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"millrace/serve/problem"
	"millrace/serve/strict"
)

// EventBody is an event as it is sent; for the document only, as package event
// reads events.
type EventBody struct {
	EventID   strict.ID      `json:"event_id,omitempty" doc:"A repeat by the same user within 24 hours of stream time is acknowledged and ignored, so a request may be sent again."`
	UserID    strict.ID      `json:"user_id"`
	ItemID    strict.ID      `json:"item_id"`
	EventType string         `json:"event_type,omitempty" default:"view" doc:"One of the configured types: impression, view, click, like, cart, purchase, rating, dislike."`
	Value     float64        `json:"value,omitempty" doc:"A rating, a price, a dwell time."`
	Timestamp any            `json:"timestamp" doc:"RFC 3339, or a number of seconds (below 1e11) or of milliseconds; at most 5 minutes ahead of the server's clock."`
	SessionID strict.ID      `json:"session_id,omitempty"`
	RequestID string         `json:"request_id,omitempty" doc:"Of the list of recommendations that led here."`
	Metadata  map[string]any `json:"metadata,omitempty" doc:"At most 4 KiB."`
}

// ItemBody is an item as it is sent; for the document only.
type ItemBody struct {
	ItemID     strict.ID      `json:"item_id,omitempty" doc:"May be left out where the address says it."`
	Title      string         `json:"title,omitempty"`
	Categories []string       `json:"categories,omitempty"`
	Tags       []string       `json:"tags,omitempty"`
	Hidden     bool           `json:"hidden,omitempty" doc:"Hidden items are not recommended."`
	Created    any            `json:"created,omitempty" doc:"As an event's timestamp. A new item without it was created at the present stream time."`
	Metadata   map[string]any `json:"metadata,omitempty" doc:"At most 16 KiB."`
}

// UserBody is a user as it is sent; for the document only.
type UserBody struct {
	UserID strict.ID `json:"user_id,omitempty" doc:"May be left out where the address says it."`
	Age    int       `json:"age,omitempty" minimum:"0" maximum:"150" doc:"In years."`
	Gender string    `json:"gender,omitempty"`
	Labels []string  `json:"labels,omitempty"`
}

// document is what huma can not see in the types of a route.
type document struct {
	body     any   // a value of the type that a JSON body is read as, nil without one
	many     bool  // the body is one, a list of them, or one a line
	optional bool  // the body may be left out
	status   []int // of errors besides 400, 401 and 403
}

// Examples of answers are in examples/OPERATION.json, of bodies in
// examples/OPERATION.body.json.
//
//go:embed examples
var examples embed.FS

var (
	notFound    = []int{http.StatusNotFound}
	unavailable = []int{http.StatusServiceUnavailable}
	readsBody   = []int{http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusTooManyRequests}
	writesLog   = append([]int{http.StatusServiceUnavailable}, readsBody...)
)

// documents by operation.
var documents = map[string]document{
	"getHealth":      {status: []int{http.StatusServiceUnavailable}},
	"getStats":       {},
	"streamStats":    {},
	"getCheckpoints": {},
	"getDeadLetters": {},
	"getSource":      {status: notFound},

	"postDeadLetters": {body: DeadLettersBody{}, status: writesLog},

	"postSavepoint":   {body: SavepointBody{}, optional: true, status: append([]int{http.StatusConflict}, writesLog...)},
	"getSavepoints":   {status: unavailable},
	"getSavepoint":    {status: append(unavailable, notFound...)},
	"deleteSavepoint": {status: append([]int{http.StatusConflict, http.StatusNotFound}, unavailable...)},

	"postSavepointRestore": {body: RestoreBody{}, optional: true, status: append([]int{http.StatusConflict, http.StatusNotFound}, writesLog...)},
	"getRestores":          {},
	"getRestore":           {status: notFound},

	"postEvents": {body: EventBody{}, many: true, status: append([]int{http.StatusConflict}, writesLog...)},

	"getUserRecommendations":     {},
	"postSessionRecommendations": {body: SessionBody{}, status: readsBody},
	"postBatchRecommendations":   {body: BatchBody{}, status: readsBody},
	"getItemNeighbors":           {status: notFound},
	"getTrending":                {},
	"getCohortPreferences":       {},
	"getUserProfile":             {status: append([]int{http.StatusServiceUnavailable}, notFound...)},

	"getItem":    {status: notFound},
	"putItem":    {body: ItemBody{}, status: writesLog},
	"deleteItem": {status: append([]int{http.StatusServiceUnavailable}, notFound...)},
	"postItems":  {body: ItemBody{}, many: true, status: writesLog},
	"getUser":    {status: append([]int{http.StatusServiceUnavailable}, notFound...)},
	"putUser":    {body: UserBody{}, status: writesLog},
	"deleteUser": {status: []int{http.StatusServiceUnavailable}},
	"postUsers":  {body: UserBody{}, many: true, status: writesLog},
}

// complete adds bodies, examples and errors to the document.
func (a *API) complete() error {
	o := a.huma.OpenAPI()
	for path, item := range o.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete} {
			if op == nil {
				continue
			}
			d, ok := documents[op.OperationID]
			if !ok {
				return fmt.Errorf("%s %s is not documented", op.Method, path)
			}
			d.apply(op, o.Components.Schemas)
		}
	}
	session := o.Components.Schemas.Map()["Profile"].Properties["session"]
	o.Components.Schemas.Map()["Profile"].Properties["session"] = &huma.Schema{
		Description: session.Description, OneOf: []*huma.Schema{{Ref: session.Ref}, {Type: "null"}},
	}
	text := func(description, kind string) map[string]*huma.Response {
		return map[string]*huma.Response{"200": {Description: description, Content: map[string]*huma.MediaType{
			kind: {Schema: &huma.Schema{Type: huma.TypeString}},
		}}}
	}
	o.AddOperation(&huma.Operation{
		OperationID: "getMetrics", Method: http.MethodGet, Path: "/metrics", Tags: []string{"operations"},
		Summary: "Metrics for Prometheus", Responses: text("The text format of Prometheus.", "text/plain"),
	})
	o.AddOperation(&huma.Operation{
		OperationID: "getOpenAPI", Method: http.MethodGet, Path: "/openapi.json", Tags: []string{"operations"},
		Summary: "This document", Responses: text("OpenAPI 3.1.", "application/openapi+json"),
	})
	return nil
}

func (d *document) apply(op *huma.Operation, schemas huma.Registry) {
	delete(op.Responses, "default")
	problems := map[string]*huma.MediaType{
		problem.ContentType: {Schema: schemas.Schema(reflect.TypeFor[problem.Problem](), true, "Problem")},
	}
	for _, status := range append([]int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden}, d.status...) {
		if op.OperationID == "getHealth" && status == http.StatusServiceUnavailable {
			op.Responses["503"] = &huma.Response{Description: "Events are refused, or nothing is answered yet: the body says why.", Content: op.Responses["200"].Content}
			continue
		}
		op.Responses[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status), Content: problems}
	}
	for _, success := range []string{"200", "202"} {
		if answer := op.Responses[success]; answer != nil && answer.Content["application/json"] != nil {
			answer.Content["application/json"].Example = example(op.OperationID)
		}
	}
	if d.body == nil {
		return
	}
	one := schemas.Schema(reflect.TypeOf(d.body), true, "")
	media := &huma.MediaType{Schema: one, Example: example(op.OperationID + ".body")}
	op.RequestBody = &huma.RequestBody{Required: !d.optional, Content: map[string]*huma.MediaType{"application/json": media}}
	if d.many {
		media.Schema = &huma.Schema{OneOf: []*huma.Schema{one, {Type: huma.TypeArray, Items: one}}}
		op.RequestBody.Content["application/x-ndjson"] = &huma.MediaType{
			Schema: &huma.Schema{Type: huma.TypeString, Description: "One JSON object a line."},
		}
	}
}

// example is the text of an example, which every answer and body has: a test
// sees to that.
func example(name string) any {
	text, err := examples.ReadFile("examples/" + name + ".json")
	if err != nil {
		return nil
	}
	return json.RawMessage(text)
}
