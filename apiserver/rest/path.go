package rest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strings"

	"k8s.io/apimachinery/pkg/version"
)

// Version is what /version answers for this program.
func Version() version.Info {
	return version.Info{
		Major: "1", Minor: "37", GitVersion: "v1.37.0+headway", GitTreeState: "clean",
		EmulationMajor: "1", EmulationMinor: "37", MinCompatibilityMajor: "1", MinCompatibilityMinor: "36",
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
}

// isPublic tells what needs no identity: the verdict on the server's health
// does not, what a single check has to say does. A configuration that says
// what is for everybody replaces that.
func (h *Handler) isPublic(info *RequestInfo) bool {
	if _, decided := h.anonymous(info.Path); decided {
		return false
	}
	if info.IsResource || info.Verb != "get" && info.Verb != "head" {
		return false
	}
	switch strings.TrimSuffix(info.Path, "/") {
	case "/livez", "/readyz", "/healthz", "/version":
		return true
	}
	return false
}

// The transaction contract is served below txnPath; its calls are no resources.
const (
	txnGroup = "txn.headway.sh"
	txnPath  = "/apis/" + txnGroup + "/v1"
)

// extra finds the handler of one of Paths; below says that its key stands for
// everything below it. The longest key wins.
func (h *Handler) extra(path string) (handler http.Handler, below bool) {
	if exact, ok := h.Paths[path]; ok && !strings.HasSuffix(path, "/") {
		return exact, false
	}
	best := ""
	for key, candidate := range h.Paths {
		if strings.HasSuffix(key, "/") && strings.HasPrefix(path, key) && len(key) > len(best) {
			best, handler = key, candidate
		}
	}
	return handler, handler != nil
}

// servePath answers what is no API resource.
func (h *Handler) servePath(w http.ResponseWriter, r *http.Request, info *RequestInfo) error {
	path := strings.TrimSuffix(info.Path, "/")
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch {
	case first == "livez" || first == "readyz" || first == "healthz":
		h.serveHealth(w, r, first, rest)
		return nil
	case path == "/version":
		return h.serveVersion(w, r)
	case path == "/metrics" && h.Metrics != nil:
		h.Metrics.ServeHTTP(w, r)
		return nil
	case strings.HasPrefix(path, txnPath+"/") && h.Txn != nil:
		h.Txn.ServeHTTP(w, r)
		return nil
	case (path == "" || first == "api" || first == "apis") && h.Discovery != nil:
		h.Discovery.ServeHTTP(w, r)
		return nil
	case (first == ".well-known" || first == "openid") && h.Tokens != nil:
		h.Tokens.ServeHTTP(w, r)
		return nil
	case first == "openapi" && h.OpenAPI != nil:
		h.OpenAPI.ServeHTTP(w, r)
		return nil
	}
	if handler, _ := h.extra(info.Path); handler != nil {
		handler.ServeHTTP(w, r)
		return nil
	}
	notFoundPage(w)
	return nil
}

func (h *Handler) serveVersion(w http.ResponseWriter, r *http.Request) error {
	b, err := json.MarshalIndent(h.Version, "", "  ")
	if err != nil {
		return fmt.Errorf("encode version: %w", err)
	}
	h.answerBytes(w, r, http.StatusOK, mediaJSON, b)
	return nil
}
