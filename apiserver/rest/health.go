package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/version"
)

// Check is one named condition of the server's health.
type Check struct {
	Name string
	// Check returns nil when all is well; it must be quick.
	Check func(ctx context.Context) error
	// Live says that the process is beyond help when the check fails, so that
	// /livez asks it too; /readyz asks every one.
	Live bool
}

// Version is what /version answers for this program.
func Version() version.Info {
	return version.Info{
		Major: "1", Minor: "37", GitVersion: "v1.37.0+headway", GitTreeState: "clean",
		EmulationMajor: "1", EmulationMinor: "37", MinCompatibilityMajor: "1", MinCompatibilityMinor: "36",
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
}

// isPublic tells the paths that need no identity.
func isPublic(path string) bool {
	path = strings.TrimSuffix(path, "/")
	switch path {
	case "/livez", "/readyz", "/healthz", "/version":
		return true
	}
	return strings.HasPrefix(path, "/livez/") || strings.HasPrefix(path, "/readyz/") || strings.HasPrefix(path, "/healthz/")
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

// serveHealth answers /livez, /readyz and /healthz, all checks or one.
func (h *Handler) serveHealth(w http.ResponseWriter, r *http.Request, name, one string) {
	query := r.URL.Query()
	excluded := query["exclude"]
	var lines strings.Builder
	bad, known := 0, one == ""
	for _, check := range append([]Check{{Name: "ping", Live: true}}, h.Checks...) {
		if (name != "readyz" && !check.Live) || (one != "" && check.Name != one) {
			continue
		}
		known = true
		if slices.Contains(excluded, check.Name) {
			fmt.Fprintf(&lines, "[+]%s excluded: ok\n", check.Name)
			continue
		}
		var err error
		if check.Check != nil {
			err = check.Check(r.Context())
		}
		if err != nil {
			bad++
			h.log.Warn("health check fails", "endpoint", name, "check", check.Name, "error", err)
			fmt.Fprintf(&lines, "[-]%s failed: reason withheld\n", check.Name)
			continue
		}
		fmt.Fprintf(&lines, "[+]%s ok\n", check.Name)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, verbose := query["verbose"]
	switch {
	case !known:
		notFoundPage(w)
	case bad > 0:
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, "%s%s check failed\n", lines.String(), name)
	case verbose && one == "":
		fmt.Fprintf(w, "%s%s check passed\n", lines.String(), name)
	default:
		fmt.Fprint(w, "ok")
	}
}
