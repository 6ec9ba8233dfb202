package apiserver_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestRemovedNodeConfig: a field whose feature is gone is dropped without a
// word, as Kubernetes does.
func TestRemovedNodeConfig(t *testing.T) {
	t.Parallel()
	root := personPeer(t, start(t), "root", "system:masters")
	const source = `"spec":{"configSource":{"configMap":{"namespace":"a","name":"b","kubeletConfigKey":"c"}}}`
	for _, request := range [][]string{
		{"POST", "/api/v1/nodes", `{"metadata":{"name":"n"},` + source + `}`, asJSON},
		{"PATCH", "/api/v1/nodes/n", `{` + source + `}`, mergePatch},
	} {
		code, text := root.ask(t, request[0], request[1], request[2], "Content-Type", request[3])
		if code != http.StatusOK && code != http.StatusCreated || strings.Contains(text, "kubeletConfigKey\":\"c\"") {
			t.Errorf("%s: %d %s", request[0], code, text)
		}
	}
}
