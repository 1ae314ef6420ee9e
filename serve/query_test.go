package serve

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"millrace/serve/dashboard"
	"millrace/serve/problem"
	"millrace/serve/servetest"
)

// Every route refuses a parameter that it does not have, also those that are
// not the API's: a browser's page and its files, metrics, the document.
func TestUnknownParametersAreRefusedEverywhere(t *testing.T) {
	s, err := New(Options{Parts: servetest.New().Parts(), Listen: "127.0.0.1:0", Dashboard: dashboard.Handler()})
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string][]string{"/": {"GET", "HEAD"}, "/dashboard/app.js": {"GET", "HEAD"}, "/dashboard/nothing": {"GET"}}
	_, document := openAPI(t)
	for path, item := range object(document, "paths") {
		path = pathParameter.ReplaceAllString(path, "1")
		for method := range object(item) {
			targets[path] = append(targets[path], strings.ToUpper(method))
		}
	}
	if len(targets) < 20 {
		t.Fatalf("only %d routes", len(targets))
	}
	for path, methods := range targets {
		for _, method := range methods {
			for _, query := range []string{"_x=1", "_x", "v=%zz"} {
				r := httptest.NewRecorder()
				s.Handler().ServeHTTP(r, httptest.NewRequest(method, "http://localhost"+path+"?"+query, strings.NewReader("{}")))
				var p problem.Problem
				err := json.Unmarshal(r.Body.Bytes(), &p)
				if err != nil || r.Code != http.StatusBadRequest || r.Header().Get("Content-Type") != problem.ContentType ||
					len(p.Errors) != 1 || !strings.Contains(p.Errors[0].Expected, "parameter") && !strings.Contains(p.Errors[0].Expected, "percent") {
					t.Errorf("%s %s?%s: %d %.200s", method, path, query, r.Code, r.Body)
				}
			}
		}
	}
	r := httptest.NewRecorder()
	s.Handler().ServeHTTP(r, httptest.NewRequest(http.MethodGet, "http://localhost/?", nil))
	if r.Code != http.StatusOK {
		t.Errorf("the page with an empty query: %d", r.Code)
	}
}
