package emulator

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// Dump writes what the runtime holds, one line a thing, sorted: for golden
// files and failing tests.
//
//	sandbox default/web uid=1 ready
//	  container app#0 exited code=3
//	image docker.io/library/job:v1
func (r *Runtime) Dump() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, uid := range slices.Sorted(maps.Keys(r.sandboxes)) {
		s := r.sandboxes[uid].state
		ready := "stopped"
		if s.Ready {
			ready = "ready"
		}
		fmt.Fprintf(&b, "sandbox %s/%s uid=%s %s\n", s.PodNamespace, s.PodName, uid, ready)
		r.dumpContainers(&b, uid)
	}
	var refs []string
	for _, img := range r.images {
		refs = append(refs, img.References...)
	}
	slices.Sort(refs)
	for _, ref := range refs {
		fmt.Fprintf(&b, "image %s\n", ref)
	}
	return b.String()
}

func (r *Runtime) dumpContainers(b *strings.Builder, uid string) {
	var lines []string
	for _, c := range r.containers {
		if c.state.PodUID != uid {
			continue
		}
		line := fmt.Sprintf("  container %s#%d %s", c.state.Name, c.state.Attempt, c.state.State)
		if c.state.State == runtime.StateExited {
			line += fmt.Sprintf(" code=%d", c.state.ExitCode)
		}
		if c.state.OOMKilled {
			line += " oom"
		}
		if c.state.Reason != "" {
			line += " reason=" + c.state.Reason
		}
		lines = append(lines, line+"\n")
	}
	slices.Sort(lines)
	b.WriteString(strings.Join(lines, ""))
}
