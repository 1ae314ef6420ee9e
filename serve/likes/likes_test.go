package likes_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"millrace/catalog"
	"millrace/event"
	"millrace/outbox"
	"millrace/serve/likes"
)

// fakes are a store and users that remember, and fail when told to.
type fakes struct {
	put      []outbox.Reaction
	storeErr error
	userErr  error
}

func (f *fakes) Put(_ context.Context, r outbox.Reaction) (bool, error) {
	if f.storeErr == nil {
		f.put = append(f.put, r)
	}
	return true, f.storeErr
}

func (f *fakes) User(_ context.Context, id string) (*event.User, error) {
	if f.userErr == nil && id == "nobody" {
		return nil, fmt.Errorf("user: %w", catalog.ErrNotFound)
	}
	return &event.User{ID: id}, f.userErr
}

func ask(t *testing.T, f *fakes, kind, contentType, body string, header ...string) string {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/recommendation/"+kind, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	now := func() time.Time { return time.UnixMilli(1700000000123) }
	likes.New(likes.Options{Store: f, Users: f, Now: now}).ServeHTTP(w, r)
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("%s %s: status %d, %s", kind, body, w.Code, w.Header().Get("Content-Type"))
	}
	return w.Body.String()
}

const (
	asJSON = "application/json"
	asForm = "application/x-www-form-urlencoded"
)

// TestAnswers gives the service good and bad requests, and compares every byte
// of its answers.
func TestAnswers(t *testing.T) {
	const good = `{"user_id":"u","content_id":"c","title":"标题"}`
	broken := errors.New("broken")
	tests := []struct {
		name, kind, contentType, body string
		fakes                         fakes
		want                          string
		stored                        bool
	}{
		{"like", "likes", asJSON, good, fakes{}, `{"code":0,"msg":"点赞成功"}`, true},
		{"read", "reads", asJSON, good, fakes{}, `{"code":0,"msg":"阅读成功"}`, true},
		{"favourite", "favorites", asJSON, good, fakes{}, `{"code":0,"msg":"收藏成功"}`, true},
		{"comment", "comments", asJSON, good, fakes{}, `{"code":0,"msg":"评论成功"}`, true},
		{"form", "likes", asForm, "user_id=u&content_id=c&title=" + url.QueryEscape("标题"), fakes{}, `{"code":0,"msg":"点赞成功"}`, true},
		{"form with a charset", "likes", asForm + "; charset=utf-8", "user_id=u&content_id=c", fakes{}, `{"code":0,"msg":"点赞成功"}`, true},
		{"no content type", "likes", "", good, fakes{}, `{"code":0,"msg":"点赞成功"}`, true},
		{"more fields", "likes", asJSON, `{"user_id":"u","content_id":"c","extra":[1]}`, fakes{}, `{"code":0,"msg":"点赞成功"}`, true},
		{"unknown user", "likes", asJSON, `{"user_id":"nobody","content_id":"c"}`, fakes{}, `{"code":1000,"msg":"用户名不存在"}`, false},
		{"store away", "likes", asJSON, good, fakes{storeErr: broken}, `{"code":1001,"msg":"点赞失败"}`, false},
		{"comment and store away", "comments", asJSON, good, fakes{storeErr: broken}, `{"code":1001,"msg":"评论失败"}`, false},
		{"users away", "likes", asJSON, good, fakes{userErr: broken}, `{"code":1001,"msg":"点赞失败"}`, false},
		{"no user", "likes", asJSON, `{"content_id":"c"}`, fakes{}, `{"code":2000,"msg":"error"}`, false},
		{"no content", "likes", asForm, "user_id=u", fakes{}, `{"code":2000,"msg":"error"}`, false},
		{"no JSON", "likes", asJSON, "user_id=u", fakes{}, `{"code":2000,"msg":"error"}`, false},
		{"an id that is none", "likes", asJSON, `{"user_id":1.5,"content_id":"c"}`, fakes{}, `{"code":2000,"msg":"error"}`, false},
		{"an id that is true", "likes", asJSON, `{"user_id":true,"content_id":"c"}`, fakes{}, `{"code":2000,"msg":"error"}`, false},
		{"a control character", "likes", asJSON, `{"user_id":"u","content_id":"c\n"}`, fakes{}, `{"code":2000,"msg":"error"}`, false},
		{"too long", "likes", asJSON, `{"user_id":"u","content_id":"` + strings.Repeat("c", 257) + `"}`, fakes{}, `{"code":2000,"msg":"error"}`, false},
		{"too large", "likes", asJSON, `{"user_id":"u","content_id":"c","x":"` + strings.Repeat("c", 70_000) + `"}`, fakes{}, `{"code":2000,"msg":"error"}`, false},
		{"another kind", "shares", asJSON, good, fakes{}, `{"code":2000,"msg":"error"}`, false},
		{"odd content type", "likes", "a;b;c", good, fakes{}, `{"code":2000,"msg":"error"}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ask(t, &tt.fakes, tt.kind, tt.contentType, tt.body); got != tt.want {
				t.Errorf("it answers %s, expected %s", got, tt.want)
			}
			if (len(tt.fakes.put) == 1) != tt.stored {
				t.Errorf("stored: %+v", tt.fakes.put)
			}
		})
	}
}

// TestStored looks at what requests are stored as.
func TestStored(t *testing.T) {
	var multi bytes.Buffer
	form := multipart.NewWriter(&multi)
	for name, value := range map[string]string{"user_id": "7", "content_id": "9", "title": "t", "idempotency_key": "k"} {
		if err := form.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	want := outbox.Reaction{Kind: outbox.Comments, User: "7", Content: "9", Title: "t", Key: "k", Time: 1700000000123}
	for name, of := range map[string][]string{
		"numbers":            {asJSON, `{"user_id":7,"content_id":9,"title":"t","idempotency_key":"k"}`},
		"texts":              {asJSON, `{"user_id":"7","content_id":"9","title":"t"}`, "Idempotency-Key", "k"},
		"JSON called a form": {asForm, `{"user_id":7,"content_id":"9","title":"t","idempotency_key":"k"}`},
		"form":               {asForm, "user_id=7&content_id=9&title=t&idempotency_key=k"},
		"form of parts":      {form.FormDataContentType(), multi.String()},
		"key in the body":    {asJSON, `{"user_id":7,"content_id":9,"title":"t","idempotency_key":"k"}`, "Idempotency-Key", "another"},
	} {
		f := &fakes{}
		if got := ask(t, f, "comments", of[0], of[1], of[2:]...); got != `{"code":0,"msg":"评论成功"}` {
			t.Errorf("%s: it answers %s", name, got)
		}
		if len(f.put) != 1 || f.put[0] != want {
			t.Errorf("%s: stored %+v", name, f.put)
		}
	}
}

// FuzzRequest has any body answered with one of the codes.
func FuzzRequest(f *testing.F) {
	f.Add(asJSON, `{"user_id":"u","content_id":"c"}`)
	f.Add(asForm, "user_id=%zz&content_id=c")
	f.Add("multipart/form-data; boundary=x", "--x\r\n\r\n--x--")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		got := ask(t, &fakes{}, "likes", contentType, body)
		if !strings.HasPrefix(got, `{"code":0,`) && !strings.HasPrefix(got, `{"code":1000,`) && got != `{"code":2000,"msg":"error"}` {
			t.Errorf("it answers %s", got)
		}
	})
}
