package forge_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/forge"
	"github.com/headway-sh/headway/gitsource/forge/forgetest"
)

var kinds = []v1alpha1.ForgeType{v1alpha1.ForgeGitHub, v1alpha1.ForgeGitLab, v1alpha1.ForgeGitea}

const commit = "4f3c2b1a0d9e4f3c2b1a0d9e4f3c2b1a0d9e4f3c"

func dial(t *testing.T, kind v1alpha1.ForgeType, token string) (*forgetest.Server, *forge.Client) {
	t.Helper()
	s := forgetest.New(kind)
	t.Cleanup(s.Close)
	c, err := forge.New(forge.Target{Type: kind, URL: s.URL(), Repository: forgetest.Repository, Token: token, CABundle: s.CA()})
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	words := map[v1alpha1.ForgeType][]string{
		v1alpha1.ForgeGitHub: {"pending", "success", "failure", "error"},
		v1alpha1.ForgeGitea:  {"pending", "success", "failure", "error"},
		v1alpha1.ForgeGitLab: {"running", "success", "failed", "canceled"},
	}
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s, c := dial(t, kind, forgetest.Token)
			var want []string
			for i, state := range []forge.State{forge.Pending, forge.Success, forge.Failure, forge.Gone} {
				err := c.SetStatus(t.Context(), forge.Status{Commit: commit, Context: "headway/test/main", State: state, Description: "words", TargetURL: "https://x/y"})
				if err != nil {
					t.Fatalf("%s: %v", state, err)
				}
				want = append(want, "4f3c2b1a0d9e headway/test/main: "+words[kind][i]+": words https://x/y")
			}
			if diff := cmp.Diff(want, s.Statuses()); diff != "" {
				t.Errorf("statuses (-want +got):\n%s", diff)
			}
			// The same once more is no error, whatever the forge makes of it.
			if err := c.SetStatus(t.Context(), forge.Status{Commit: commit, Context: "headway/test/main", State: forge.Gone}); err != nil {
				t.Errorf("twice: %v", err)
			}
			if err := c.SetStatus(t.Context(), forge.Status{Commit: commit, Context: "long", State: forge.Success, Description: strings.Repeat("é", 300)}); err != nil {
				t.Errorf("a long description: %v", err)
			}
		})
	}
}

func TestOneComment(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s, c := dial(t, kind, forgetest.Token)
			for range 150 {
				s.Say(7, "words of others")
			}
			id, err := c.Comment(t.Context(), 7, 0, "<!-- mark -->", "<!-- mark -->\none")
			if err != nil {
				t.Fatal(err)
			}
			copied := s.Say(7, "<!-- mark -->\nnot ours")
			// Who has forgotten the id finds it by the marker.
			for i, known := range []int64{id, 0} {
				again, err := c.Comment(t.Context(), 7, known, "<!-- mark -->", "<!-- mark -->\ntwo")
				if err != nil || again != id {
					t.Fatalf("%d: comment %d, %v; want %d", i, again, err, id)
				}
			}
			comments := s.Comments(7)
			if len(comments) != 152 || comments[150].Body != "<!-- mark -->\ntwo" || comments[151].Body != "<!-- mark -->\nnot ours" {
				t.Errorf("%d comments, the last are %+v (copied %d)", len(comments), comments[150:], copied)
			}
			s.Remove(7, id)
			if again, err := c.Comment(t.Context(), 7, id, "<!-- mark -->", "<!-- mark -->\nthree"); err != nil || again == id || again == copied {
				t.Errorf("after it was deleted: comment %d, %v", again, err)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		fault   forgetest.Fault
		lasting bool
		after   time.Duration
	}{
		{"no rights", forgetest.Fault{Status: 403, Body: `{"message":"Resource not accessible by personal access token"}`}, true, 0},
		{"not there", forgetest.Fault{Status: 404, Body: `{"message":"Not Found"}`}, true, 0},
		{"not valid", forgetest.Fault{Status: 422, Body: `{"message":"Validation Failed"}`}, true, 0},
		{"moved", forgetest.Fault{Status: 301, Header: map[string]string{"Location": "https://elsewhere.example.org/"}}, true, 0},
		{"broken", forgetest.Fault{Status: 502, Body: "<html>"}, false, 0},
		{"too many", forgetest.Fault{Status: 429, Header: map[string]string{"Retry-After": "30"}}, false, 30 * time.Second},
		{"quota spent", forgetest.Spent(time.Now().Add(100 * time.Hour)), false, time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, client := dial(t, v1alpha1.ForgeGitHub, forgetest.Token)
			s.Fail(c.fault)
			err := client.SetStatus(t.Context(), forge.Status{Commit: commit, Context: "x", State: forge.Success})
			var refused *forge.Error
			if !errors.As(err, &refused) {
				t.Fatalf("error is %v", err)
			}
			if refused.Lasting() != c.lasting || refused.After != c.after {
				t.Errorf("lasting %v after %s, want %v after %s", refused.Lasting(), refused.After, c.lasting, c.after)
			}
		})
	}
}

func TestTokenStaysSecret(t *testing.T) {
	t.Parallel()
	s, c := dial(t, v1alpha1.ForgeGitHub, "wrong-t0ken")
	s.Fail(forgetest.Fault{Status: 400, Body: "what is wrong-t0ken?"})
	for range 2 {
		err := c.SetStatus(t.Context(), forge.Status{Commit: commit, Context: "x", State: forge.Success})
		if err == nil || strings.Contains(err.Error(), "wrong-t0ken") {
			t.Errorf("error is %v", err)
		}
	}
	heard := make(chan string, 1)
	other := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { heard <- r.Header.Get("Authorization") }))
	defer other.Close()
	s.Fail(forgetest.Fault{Status: 307, Header: map[string]string{"Location": other.URL}})
	if err := c.SetStatus(t.Context(), forge.Status{Commit: commit, Context: "x", State: forge.Success}); err == nil {
		t.Error("a redirect is a success")
	}
	select {
	case token := <-heard:
		t.Errorf("another host has heard %q", token)
	default:
	}
}

func TestStalledForge(t *testing.T) {
	t.Parallel()
	s, c := dial(t, v1alpha1.ForgeGitea, forgetest.Token)
	s.Fail(forgetest.Fault{Stall: true})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := c.SetStatus(ctx, forge.Status{Commit: commit, Context: "x", State: forge.Success}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
}

func TestLocate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, url string
		forge     v1alpha1.ForgeSpec
		want      forge.Target
		page      string
	}{
		{"github", "https://github.com/team/shop.git", v1alpha1.ForgeSpec{Type: v1alpha1.ForgeAuto},
			forge.Target{Type: v1alpha1.ForgeGitHub, URL: "https://github.com", Repository: "team/shop"},
			"https://github.com/team/shop/blob/headway/prod/commits/x.md"},
		{"scp-like", "git@gitlab.example.org:group/sub/shop.git", v1alpha1.ForgeSpec{Type: v1alpha1.ForgeAuto},
			forge.Target{Type: v1alpha1.ForgeGitLab, URL: "https://gitlab.example.org", Repository: "group/sub/shop"},
			"https://gitlab.example.org/group/sub/shop/-/blob/headway/prod/commits/x.md"},
		{"ssh with a port", "ssh://git@codeberg.org:2222/team/shop", v1alpha1.ForgeSpec{Type: v1alpha1.ForgeAuto},
			forge.Target{Type: v1alpha1.ForgeGitea, URL: "https://codeberg.org", Repository: "team/shop"},
			"https://codeberg.org/team/shop/src/branch/headway/prod/commits/x.md"},
		{"below a path", "https://example.org/git/team/shop", v1alpha1.ForgeSpec{Type: v1alpha1.ForgeGitea, URL: "https://example.org/git/"},
			forge.Target{Type: v1alpha1.ForgeGitea, URL: "https://example.org/git", Repository: "team/shop"},
			"https://example.org/git/team/shop/src/branch/headway/prod/commits/x.md"},
		{"said", "/srv/shop.git", v1alpha1.ForgeSpec{Type: v1alpha1.ForgeGitHub, URL: "https://ghe.example.org", Repository: "a/b"},
			forge.Target{Type: v1alpha1.ForgeGitHub, URL: "https://ghe.example.org", Repository: "a/b"},
			"https://ghe.example.org/a/b/blob/headway/prod/commits/x.md"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := forge.Locate(&v1alpha1.GitSourceSpec{URL: c.url, Forge: &c.forge})
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("target (-want +got):\n%s", diff)
			}
			if page := forge.PageURL(got, "headway/prod", "commits/x.md"); page != c.page {
				t.Errorf("page is %s, want %s", page, c.page)
			}
		})
	}
}
