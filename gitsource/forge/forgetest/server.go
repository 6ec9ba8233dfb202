// Package forgetest is a forge in process: it answers the calls of GitHub's,
// GitLab's and Gitea's APIs that statuses and comments need as their references
// say, and fails on demand.
package forgetest

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// Token is the one that the server takes.
const Token = "s3cret-t0ken"

// Repository is the only one that it has.
const Repository = "team/shop"

// Fault is how the next call goes wrong.
type Fault struct {
	Status int
	Header map[string]string
	Body   string
	// Stall has the call wait until the caller gives up.
	Stall bool
}

// Comment is a comment of a pull request.
type Comment struct {
	ID   int64  `json:"id"`
	Body string `json:"body"`
}

// Server is a forge. It is safe for concurrent use.
type Server struct {
	kind v1alpha1.ForgeType
	http *httptest.Server

	mu       sync.Mutex // guards all below
	statuses []string
	states   map[string]string // of GitLab's, by commit and name
	comments map[int][]Comment
	faults   []Fault
	calls    int
	next     int64
}

// New starts a Server of a kind. Close ends it.
func New(kind v1alpha1.ForgeType) *Server {
	s := &Server{kind: kind, states: map[string]string{}, comments: map[int][]Comment{}, next: 100}
	s.http = httptest.NewTLSServer(s)
	return s
}

// Close ends the server.
func (s *Server) Close() { s.http.Close() }

// URL is the forge's address.
func (s *Server) URL() string { return s.http.URL }

// CA is the certificate that the server's is checked against, as PEM.
func (s *Server) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
}

// Fail has the next calls go wrong, one for each fault.
func (s *Server) Fail(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Statuses are those that were set, the newest last, as "4f3c2b1a0d9e context:
// state: description target".
func (s *Server) Statuses() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.statuses...)
}

// Comments are those of a pull request.
func (s *Server) Comments(number int) []Comment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Comment(nil), s.comments[number]...)
}

// Say comments on a pull request as somebody else; it gives the comment's id.
func (s *Server) Say(number int, body string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(number, body).ID
}

// Remove deletes a comment.
func (s *Server) Remove(number int, id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, c := range s.comments[number] {
		if c.ID == id {
			s.comments[number] = append(s.comments[number][:i:i], s.comments[number][i+1:]...)
			return
		}
	}
}

// Calls is how many calls have come.
func (s *Server) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *Server) add(number int, body string) Comment {
	s.next++
	c := Comment{ID: s.next, Body: body}
	s.comments[number] = append(s.comments[number], c)
	return c
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.calls++
	var fault *Fault
	if len(s.faults) > 0 {
		fault, s.faults = &s.faults[0], s.faults[1:]
	}
	s.mu.Unlock()
	if fault != nil {
		if fault.Stall {
			// Only who has read the body sees the caller go.
			if _, err := io.Copy(io.Discard, r.Body); err == nil {
				<-r.Context().Done()
			}
			return
		}
		for k, v := range fault.Header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(fault.Status)
		fmt.Fprint(w, fault.Body)
		return
	}
	status, answer := s.answer(r)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		panic(err) // of a test's own values
	}
}

func (s *Server) answer(r *http.Request) (int, any) {
	api := map[v1alpha1.ForgeType][3]string{
		v1alpha1.ForgeGitHub: {"/api/v3/repos/" + Repository, "Authorization", "Bearer " + Token},
		v1alpha1.ForgeGitea:  {"/api/v1/repos/" + Repository, "Authorization", "token " + Token},
		v1alpha1.ForgeGitLab: {"/api/v4/projects/" + url.PathEscape(Repository), "Private-Token", Token},
	}[s.kind]
	if r.Header.Get(api[1]) != api[2] {
		return refusal(http.StatusUnauthorized, "Bad credentials")
	}
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), api[0]+"/")
	if !ok {
		return refusal(http.StatusNotFound, "Not Found")
	}
	body := map[string]string{}
	if r.Method != http.MethodGet {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			return refusal(http.StatusBadRequest, "Problems parsing JSON")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if commit, ok := strings.CutPrefix(rest, "statuses/"); ok && r.Method == http.MethodPost {
		return s.setStatus(commit, body)
	}
	return s.comment(r, rest, body)
}

var commitID = regexp.MustCompile("^[0-9a-f]{40}$")

// states are the words that each forge takes.
var states = map[v1alpha1.ForgeType]string{
	v1alpha1.ForgeGitHub: " error failure pending success ",
	v1alpha1.ForgeGitea:  " error failure pending success warning ",
	v1alpha1.ForgeGitLab: " pending running success failed canceled skipped ",
}

func (s *Server) setStatus(commit string, body map[string]string) (int, any) {
	name, longest := body["context"], 140
	if s.kind == v1alpha1.ForgeGitLab {
		name, longest = body["name"], 255
	}
	switch {
	case !commitID.MatchString(commit):
		return refusal(http.StatusUnprocessableEntity, "No commit found for SHA: "+commit)
	case name == "" || !strings.Contains(states[s.kind], " "+body["state"]+" "):
		return refusal(http.StatusUnprocessableEntity, "Validation Failed")
	case s.kind == v1alpha1.ForgeGitHub && len(body["description"]) > longest:
		return refusal(http.StatusUnprocessableEntity, "description is too long (maximum is 140 characters)")
	}
	if key := commit + name; s.kind == v1alpha1.ForgeGitLab {
		if s.states[key] == body["state"] {
			return refusal(http.StatusBadRequest, "Cannot transition status via :run from :"+body["state"])
		}
		s.states[key] = body["state"]
	}
	s.statuses = append(s.statuses, strings.TrimSpace(fmt.Sprintf("%.12s %s: %s: %s %s", commit, name, body["state"], body["description"], body["target_url"])))
	return http.StatusCreated, map[string]any{"id": 1}
}

var (
	list = regexp.MustCompile(`^(?:issues|merge_requests)/(\d+)/(?:comments|notes)$`)
	item = regexp.MustCompile(`^(?:issues/comments|merge_requests/\d+/notes)/(\d+)$`)
)

func (s *Server) comment(r *http.Request, path string, body map[string]string) (int, any) {
	if m := list.FindStringSubmatch(path); m != nil {
		number, err := strconv.Atoi(m[1])
		if err != nil {
			return refusal(http.StatusNotFound, "Not Found")
		}
		if r.Method == http.MethodPost {
			if body["body"] == "" || len(body["body"]) > 65536 {
				return refusal(http.StatusUnprocessableEntity, "body is too long (maximum is 65536 characters)")
			}
			return http.StatusCreated, s.add(number, body["body"])
		}
		return http.StatusOK, s.page(r, number)
	}
	m := item.FindStringSubmatch(path)
	edit := map[bool]string{true: http.MethodPut, false: http.MethodPatch}[s.kind == v1alpha1.ForgeGitLab]
	if m == nil || r.Method != edit {
		return refusal(http.StatusNotFound, "Not Found")
	}
	for _, comments := range s.comments {
		for i := range comments {
			if strconv.FormatInt(comments[i].ID, 10) == m[1] {
				comments[i].Body = body["body"]
				return http.StatusOK, comments[i]
			}
		}
	}
	return refusal(http.StatusNotFound, "Not Found")
}

// page gives a page of comments; Gitea gives all of them.
func (s *Server) page(r *http.Request, number int) []Comment {
	all := append([]Comment{}, s.comments[number]...)
	if s.kind == v1alpha1.ForgeGitea {
		return all
	}
	page, err := strconv.Atoi(r.URL.Query().Get("page"))
	if err != nil || page < 1 {
		page = 1
	}
	per, err := strconv.Atoi(r.URL.Query().Get("per_page"))
	if err != nil {
		per = 30
	}
	from := min((page-1)*per, len(all))
	return all[from:min(from+per, len(all))]
}

func refusal(status int, message string) (int, any) {
	return status, map[string]string{"message": message}
}

// Spent is what GitHub says when a quota is spent until a time.
func Spent(until time.Time) Fault {
	return Fault{Status: http.StatusForbidden, Body: `{"message":"API rate limit exceeded"}`,
		Header: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": strconv.FormatInt(until.Unix(), 10)}}
}
