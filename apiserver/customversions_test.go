package apiserver_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestStorageVersionMoves: what was encoded for readers while another version
// was stored is not what they get in the name of a version afterwards.
func TestStorageVersionMoves(t *testing.T) {
	t.Parallel()
	server := start(t)
	root := personPeer(t, server, "root", "system:masters")
	definition := func(stored string, versions ...string) string {
		list := make([]string, len(versions))
		for i, v := range versions {
			list[i] = fmt.Sprintf(`{"name":%q,"served":true,"storage":%t,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}`, v, v == stored)
		}
		return `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"gears.move.example.com"},"spec":{"group":"move.example.com",` +
			`"scope":"Namespaced","names":{"plural":"gears","kind":"Gear","listKind":"GearList","singular":"gear"},"versions":[` + strings.Join(list, ",") + `]}}`
	}
	path := func(version string) string { return "/apis/move.example.com/" + version + "/namespaces/default/gears" }
	send := func(method, path, body string, want int, headers ...string) string {
		t.Helper()
		code, text := root.ask(t, method, path, body, headers...)
		if code != want {
			t.Fatalf("%s %s: %d %s", method, path, code, text)
		}
		return text
	}
	send("POST", crdsPath, definition("v1", "v1", "v2", "v3"), http.StatusCreated)
	send("POST", path("v1"), `{"apiVersion":"move.example.com/v1","kind":"Gear","metadata":{"name":"g"},"teeth":7}`, http.StatusCreated)
	for _, next := range []string{
		definition("v2", "v1", "v2", "v3"), definition("v2", "v3", "v2", "v1"), definition("v3", "v3", "v1", "v2"), definition("v1", "v2", "v1", "v3"), definition("v1", "v1", "v3", "v2"),
	} {
		for _, version := range []string{"v1", "v2", "v3"} {
			for _, p := range []string{path(version) + "/g", path(version)} {
				if text := send("GET", p, "", http.StatusOK); !strings.Contains(text, `{"apiVersion":"move.example.com/`+version+`","kind":"Gear",`) || !strings.Contains(text, `"teeth":7`) {
					t.Errorf("as %s: %s", version, text)
				}
			}
		}
		send("PATCH", crdsPath+"/gears.move.example.com", next, http.StatusOK, "Content-Type", mergePatch)
	}
}
