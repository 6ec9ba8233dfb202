package rest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Check is one named condition of the server's health.
type Check struct {
	Name string
	// Check returns nil when all is well, else what is wrong; it must be quick.
	Check func(ctx context.Context) error
	// Live says that the process is beyond help when the check fails, so that
	// /livez and /healthz ask it too; /readyz asks every one.
	Live bool
}

// checksOf are those that an endpoint asks.
func (h *Handler) checksOf(endpoint string) []Check {
	all := append([]Check{{Name: "ping", Live: true, Check: func(context.Context) error { return nil }}}, h.Checks...)
	if endpoint == "readyz" {
		return all
	}
	return slices.DeleteFunc(all, func(c Check) bool { return !c.Live })
}

// serveHealth answers /livez, /readyz and /healthz, all checks or one.
func (h *Handler) serveHealth(w http.ResponseWriter, r *http.Request, endpoint, one string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-cache, private")
	checks := h.checksOf(endpoint)
	if one == "" {
		h.serveVerdict(w, r, endpoint, checks)
		return
	}
	i := slices.IndexFunc(checks, func(c Check) bool { return c.Name == one })
	if i < 0 {
		notFoundPage(w)
		return
	}
	if err := h.ask(r.Context(), endpoint, checks[i]); err != nil {
		// Who asks for one check has been authorized, and may hear why.
		http.Error(w, fmt.Sprintf("internal server error: %v", err), http.StatusInternalServerError)
		return
	}
	fmt.Fprint(w, "ok")
}

// ask makes one check, and has it counted.
func (h *Handler) ask(ctx context.Context, endpoint string, c Check) error {
	err := c.Check(ctx)
	if h.Checked != nil {
		h.Checked(endpoint, c.Name, err == nil)
	}
	return err
}

// serveVerdict asks all checks but for those that are excluded. Everybody may
// read the answer, so that it never says why a check fails: the log does.
func (h *Handler) serveVerdict(w http.ResponseWriter, r *http.Request, endpoint string, checks []Check) {
	query := r.URL.Query()
	var lines strings.Builder
	unknown := slices.Compact(slices.Sorted(slices.Values(query["exclude"])))
	failed := false
	for _, check := range checks {
		if i := slices.Index(unknown, check.Name); i >= 0 {
			unknown = slices.Delete(unknown, i, i+1)
			fmt.Fprintf(&lines, "[+]%s excluded: ok\n", check.Name)
			continue
		}
		if err := h.ask(r.Context(), endpoint, check); err != nil {
			failed = true
			h.log.Warn("health check fails", "endpoint", endpoint, "check", check.Name, "error", err)
			fmt.Fprintf(&lines, "[-]%s failed: reason withheld\n", check.Name)
			continue
		}
		fmt.Fprintf(&lines, "[+]%s ok\n", check.Name)
	}
	if len(unknown) > 0 {
		for i := range unknown {
			unknown[i] = strconv.Quote(unknown[i])
		}
		fmt.Fprintf(&lines, "warn: some health checks cannot be excluded: no matches for %s\n", strings.Join(unknown, ", "))
	}
	switch _, verbose := query["verbose"]; {
	case failed:
		http.Error(w, lines.String()+endpoint+" check failed", http.StatusInternalServerError)
	case verbose:
		fmt.Fprintf(w, "%s%s check passed\n", lines.String(), endpoint)
	default:
		fmt.Fprint(w, "ok")
	}
}
