package rest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/headway-sh/headway/apiserver/rest"
)

// TestListRevisions goes through the table of resourceVersion and its match.
func TestListRevisions(t *testing.T) {
	w := newWorld(t)
	w.namespace("shop")
	c := w.client("alice").CoreV1().ConfigMaps("shop")
	var revisions []string
	for i := range 3 {
		made, err := c.Create(t.Context(), configMap(fmt.Sprint("m", i)), metav1.CreateOptions{})
		check(t, err)
		revisions = append(revisions, made.ResourceVersion)
	}
	first := revisions[0]
	for _, test := range []struct {
		name, query string
		code, items int
		revision    string // "" for any
		more        bool
	}{
		{name: "most recent", query: "", items: 3},
		{name: "any", query: "resourceVersion=0", items: 3},
		{name: "not older", query: "resourceVersion=" + first, items: 3},
		{name: "not older, told", query: "resourceVersionMatch=NotOlderThan&resourceVersion=" + first, items: 3},
		{name: "not older, limited", query: "limit=2&resourceVersionMatch=NotOlderThan&resourceVersion=" + first, items: 2, more: true},
		{name: "exact", query: "resourceVersionMatch=Exact&resourceVersion=" + first, items: 1, revision: first},
		{name: "exact, limited", query: "limit=2&resourceVersionMatch=Exact&resourceVersion=" + revisions[1], items: 2, revision: revisions[1]},
		{name: "limited means exact", query: "limit=2&resourceVersion=" + first, items: 1, revision: first},
		{name: "most recent, limited", query: "limit=2", items: 2, more: true},
		{name: "exactly any", query: "resourceVersionMatch=Exact&resourceVersion=0", code: 422},
		{name: "match without revision", query: "resourceVersionMatch=NotOlderThan", code: 422},
		{name: "unknown match", query: "resourceVersionMatch=Newer&resourceVersion=1", code: 422},
		{name: "match with continue", query: "limit=1&continue=x&resourceVersionMatch=Exact&resourceVersion=1", code: 422},
		{name: "initial events without watch", query: "sendInitialEvents=true&resourceVersionMatch=NotOlderThan", code: 422},
	} {
		t.Run(test.name, func(t *testing.T) {
			response := w.get(maps + "?" + test.query)
			body := read(t, response)
			if test.code != 0 {
				if response.StatusCode != test.code {
					t.Errorf("%d %s, want %d", response.StatusCode, body, test.code)
				}
				return
			}
			var list metav1.PartialObjectMetadataList
			check(t, json.Unmarshal([]byte(body), &list))
			if len(list.Items) != test.items || (test.revision != "" && list.ResourceVersion != test.revision) || (list.Continue != "") != test.more {
				t.Errorf("%d items at %s, continue %q; want %+v", len(list.Items), list.ResourceVersion, list.Continue, test)
			}
		})
	}
}

// TestContinueExpires lets a client be too slow: it is told so, and may go on
// with a token that gives what is there by then.
func TestContinueExpires(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	w := newWorld(t, func(c *rest.Config) { c.Clock = clock })
	w.namespace("shop")
	c := w.client("alice").CoreV1().ConfigMaps("shop")
	for i := range 4 {
		_, err := c.Create(t.Context(), configMap(fmt.Sprint("m", i)), metav1.CreateOptions{})
		check(t, err)
	}
	first, err := c.List(t.Context(), metav1.ListOptions{Limit: 1})
	check(t, err)
	clock.Step(9 * time.Minute)
	second, err := c.List(t.Context(), metav1.ListOptions{Limit: 1, Continue: first.Continue})
	check(t, err)
	clock.Step(2 * time.Minute)
	check(t, c.Delete(t.Context(), "m3", metav1.DeleteOptions{}))
	response := w.get(maps + "?limit=1&continue=" + second.Continue)
	var status metav1.Status
	check(t, json.Unmarshal([]byte(read(t, response)), &status))
	if response.StatusCode != http.StatusGone || status.Reason != metav1.StatusReasonExpired || status.Continue == "" {
		t.Fatalf("a list that takes eleven minutes: %+v", status)
	}
	contains(t, status.Message, "The provided continue parameter is too old to display a consistent list result.")
	third, err := c.List(t.Context(), metav1.ListOptions{Limit: 1, Continue: status.Continue})
	check(t, err)
	if len(third.Items) != 1 || third.Items[0].Name != "m2" || third.Continue != "" || third.ResourceVersion == first.ResourceVersion {
		t.Errorf("the inconsistent rest is %+v", third)
	}
}

func TestMetaVersions(t *testing.T) {
	w := newWorld(t)
	w.namespace("shop")
	_, err := w.client("alice").CoreV1().ConfigMaps("shop").Create(t.Context(), configMap("a"), metav1.CreateOptions{})
	check(t, err)
	for _, version := range []string{"v1", "v1beta1"} {
		for as, path := range map[string]string{"Table": maps, "PartialObjectMetadataList": maps, "PartialObjectMetadata": maps + "/a"} {
			body := read(t, w.get(path, "Accept", fmt.Sprintf("application/json;as=%s;v=%s;g=meta.k8s.io", as, version)))
			contains(t, body, fmt.Sprintf(`{"kind":%q,"apiVersion":"meta.k8s.io/%s"`, as, version))
		}
	}
	if response := w.get(maps, "Accept", "application/json;as=Table;v=v2;g=meta.k8s.io"); response.StatusCode != http.StatusNotAcceptable {
		t.Errorf("a version that does not exist: %s", response.Status)
	}
}
