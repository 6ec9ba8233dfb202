package serve_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/headway-sh/headway/nodeagent/serve"
)

// TestLogOfTheJustEnded is read once it is complete: the container's end is in
// the API before its last lines are in the log.
func TestLogOfTheJustEnded(t *testing.T) {
	t.Parallel()
	path, draining := filepath.Join(t.TempDir(), "0.log"), make(chan struct{})
	const first, last = "2026-01-02T15:04:05Z stdout F first\n", "2026-01-02T15:04:06Z stdout F last\n"
	if err := os.WriteFile(path, []byte(first), 0o600); err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	server := newServerOf(t, func() serve.Pod {
		close(asked)
		return serve.Pod{UID: "u", Containers: map[string]serve.Container{"app": {ID: "c1", LogPath: path, Draining: draining}}}
	})
	go func() {
		<-asked
		if err := os.WriteFile(path, []byte(first+last), 0o600); err != nil {
			t.Error(err)
		}
		close(draining)
	}()
	response, err := http.Get(server.URL + "/containerLogs/default/web/app")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "first\nlast\n" {
		t.Errorf("log %q, %v", body, err)
	}
}
