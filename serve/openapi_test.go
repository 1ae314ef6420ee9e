package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"millrace/event"
	"millrace/serve/servetest"
)

// openAPI is the document as it is served.
func openAPI(t *testing.T) (*Server, map[string]any) {
	t.Helper()
	w := servetest.New()
	w.Put(&event.Item{ID: "6", Title: "Heat (1995)"})
	for _, id := range []string{"first", "6"} { // of which the first one stays in progress
		if _, err := w.Parts().Savepoints.Create(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(Options{Parts: w.Parts(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRecorder()
	s.Handler().ServeHTTP(r, httptest.NewRequest(http.MethodGet, "http://localhost/openapi.json", nil))
	var document map[string]any
	if err := json.Unmarshal(r.Body.Bytes(), &document); err != nil {
		t.Fatal(err)
	}
	return s, document
}

func object(v any, path ...string) map[string]any {
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	m, _ := v.(map[string]any)
	return m
}

var pathParameter = regexp.MustCompile(`\{([a-z_]+)\}`)

// The rules that validators of OpenAPI 3.1 check, as far as this document can
// break them.
func TestOpenAPIIsValid(t *testing.T) {
	_, document := openAPI(t)
	if v, _ := document["openapi"].(string); !strings.HasPrefix(v, "3.1.") {
		t.Errorf("openapi is %q", v)
	}
	if info := object(document, "info"); info["title"] == "" || info["version"] != "test" {
		t.Errorf("info is %v", info)
	}
	checkReferences(t, document, document, "#")
	seen := map[string]bool{}
	for path, item := range object(document, "paths") {
		for method, v := range object(item) {
			where := strings.ToUpper(method) + " " + path
			op := object(v)
			id, _ := op["operationId"].(string)
			if id == "" || seen[id] {
				t.Errorf("%s: operationId %q is empty or not unique", where, id)
			}
			seen[id] = true
			if op["summary"] == nil || len(list(op["tags"])) != 1 {
				t.Errorf("%s: no summary, or not one tag", where)
			}
			checkParameters(t, where, path, op)
			checkAnswers(t, where, op)
		}
	}
	for path := range object(document, "paths") {
		if path != "/" && strings.HasSuffix(path, "/") {
			t.Errorf("%s ends in a slash", path)
		}
	}
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

// checkReferences demands that every $ref leads somewhere.
func checkReferences(t *testing.T, document map[string]any, v any, at string) {
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			if object(document, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...) == nil {
				t.Errorf("%s: %s leads nowhere", at, ref)
			}
		}
		for name, member := range v {
			checkReferences(t, document, member, at+"/"+name)
		}
	case []any:
		for i, member := range v {
			checkReferences(t, document, member, fmt.Sprintf("%s/%d", at, i))
		}
	}
}

func checkParameters(t *testing.T, where, path string, op map[string]any) {
	var named, want []string
	for _, v := range list(op["parameters"]) {
		p := object(v)
		if p["description"] == nil || p["schema"] == nil {
			t.Errorf("%s: parameter %v has no description or no schema", where, p["name"])
		}
		if p["in"] == "path" {
			named = append(named, p["name"].(string))
			if p["required"] != true {
				t.Errorf("%s: parameter %v is not required", where, p["name"])
			}
		}
	}
	for _, m := range pathParameter.FindAllStringSubmatch(path, -1) {
		want = append(want, m[1])
	}
	if slices.Sort(named); !slices.Equal(named, want) {
		t.Errorf("%s: path parameters %v, want %v", where, named, want)
	}
}

func checkAnswers(t *testing.T, where string, op map[string]any) {
	api := strings.Contains(where, " /v1/")
	answers := object(op, "responses")
	if answers["200"] == nil && answers["202"] == nil || api && answers["400"] == nil {
		t.Errorf("%s: no answer 200 or 400", where)
	}
	for status, v := range answers {
		answer := object(v)
		if answer["description"] == nil {
			t.Errorf("%s: answer %s has no description", where, status)
		}
		for kind, media := range object(answer, "content") {
			if object(media, "schema") == nil {
				t.Errorf("%s: answer %s, %s has no schema", where, status, kind)
			}
			if kind == "application/json" && object(media)["example"] == nil {
				t.Errorf("%s: answer %s has no example", where, status)
			}
		}
	}
	body := object(op, "requestBody", "content", "application/json")
	if body == nil && (strings.HasPrefix(where, "POST") || strings.HasPrefix(where, "PUT")) {
		t.Errorf("%s: no body", where)
	}
	if body != nil && (body["schema"] == nil || body["example"] == nil) {
		t.Errorf("%s: the body has no schema or no example", where)
	}
}

// Every route of the interface that others rely on is in the document.
func TestOpenAPIIsComplete(t *testing.T) {
	_, document := openAPI(t)
	for _, route := range []string{
		"GET /v1/health", "POST /v1/events", "GET /v1/users/{id}/recommendations", "POST /v1/sessions/recommendations",
		"POST /v1/recommendations:batch", "GET /v1/items/{id}/neighbors", "GET /v1/trending", "GET /v1/cohorts/{cohort}/preferences", "GET /v1/users/{id}/profile",
		"GET /v1/items/{id}", "PUT /v1/items/{id}", "DELETE /v1/items/{id}", "POST /v1/items",
		"GET /v1/users/{id}", "PUT /v1/users/{id}", "DELETE /v1/users/{id}", "POST /v1/users",
		"GET /v1/deadletters", "POST /v1/deadletters", "GET /v1/checkpoints", "GET /v1/sources/{name}",
		"POST /v1/savepoints", "GET /v1/savepoints", "GET /v1/savepoints/{id}", "DELETE /v1/savepoints/{id}",
		"POST /v1/savepoints/{id}/restore", "GET /v1/restores", "GET /v1/restores/{restore_id}", "GET /v1/stats", "GET /v1/stats/stream",
		"GET /metrics", "GET /openapi.json",
	} {
		method, path, _ := strings.Cut(route, " ")
		if object(document, "paths", path, strings.ToLower(method)) == nil {
			t.Errorf("%s is missing", route)
		}
	}
}

// The examples of bodies are accepted, and those of answers are what their
// schemas say.
func TestOpenAPIExamples(t *testing.T) {
	s, document := openAPI(t)
	for path, item := range object(document, "paths") {
		for method, v := range object(item) {
			where := strings.ToUpper(method) + " " + path
			for _, status := range []string{"200", "202"} {
				if answer := object(v, "responses", status, "content", "application/json"); answer != nil {
					checkExample(t, where, document, object(answer, "schema"), answer["example"])
				}
			}
			if body := object(v, "requestBody", "content", "application/json"); body != nil {
				sendExample(t, s, method, path, body["example"])
			}
		}
	}
}

// checkExample demands of an example the types, the required members and no
// members that the schema does not have.
func checkExample(t *testing.T, where string, document, schema map[string]any, example any) {
	if ref, ok := schema["$ref"].(string); ok {
		schema = object(document, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
	}
	kinds, kind := typesOf(schema), typeOf(example)
	if slices.Contains(kinds, "integer") {
		kinds = append(kinds, "number")
	}
	if len(kinds) > 0 && !slices.Contains(kinds, kind) {
		t.Errorf("%s: the example has a %s, the schema %v", where, kind, kinds)
	}
	switch example := example.(type) {
	case map[string]any:
		for _, name := range list(schema["required"]) {
			if _, ok := example[name.(string)]; !ok {
				t.Errorf("%s: the example has no %s", where, name)
			}
		}
		for name, v := range example {
			member := object(schema, "properties", name)
			if member == nil {
				member = object(schema, "additionalProperties")
			}
			if member == nil && object(schema, "properties") != nil {
				t.Errorf("%s: the example has a member %s, the schema not", where, name)
			}
			checkExample(t, where+" "+name, document, member, v)
		}
	case []any:
		for _, v := range example {
			checkExample(t, where+" []", document, object(schema, "items"), v)
		}
	}
}

// typesOf are the types that a schema allows, none for all.
func typesOf(schema map[string]any) []string {
	switch v := schema["type"].(type) {
	case string:
		return []string{v}
	case []any:
		var types []string
		for _, name := range v {
			types = append(types, name.(string))
		}
		return types
	}
	return nil
}

func typeOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case float64:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	}
	return "object"
}

func sendExample(t *testing.T, s *Server, method, path string, example any) {
	body, err := json.Marshal(example)
	if err != nil {
		t.Fatal(err)
	}
	target := strings.NewReplacer("{id}", "6").Replace(path)
	r := httptest.NewRecorder()
	s.Handler().ServeHTTP(r, httptest.NewRequest(strings.ToUpper(method), "http://localhost"+target, strings.NewReader(string(body))))
	if r.Code != 200 && r.Code != 202 {
		t.Errorf("%s %s: the example is answered with %d %s", method, path, r.Code, r.Body)
	}
}
