package gitsource_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

// TestFailedHookTellsItsLastLines: in its Release and in the report, also when
// the hook is deleted for having failed.
func TestFailedHookTellsItsLastLines(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir())
	c.logs = func(_ context.Context, namespace, pod, container string, _ bool, n int) ([]string, error) {
		return []string{fmt.Sprintf("%s/%s/%s %d", namespace, pod, container, n), "no   such table: users"}, nil
	}
	defer c.stop()
	c.run()
	c.follow("main", nil)
	c.write("a.yaml", configMap("a", "one"))
	c.phase("main", c.push("first"), v1alpha1.ReleaseHealthy)
	c.write("hook.yaml", strings.Replace(hook("pre", "bad"), "hook: pre,", "hook: pre, gitops.headway.sh/hook-delete: failed,", 1))
	bad := c.push("second")
	pod := ref("pods", "default/pre-bad")
	c.eventually("the hook", func() string {
		if c.get(pod) == nil {
			return "is not there"
		}
		return ""
	})
	c.do(txn.Identity{Name: "system:node:a"}, txn.Change{Verb: txn.Patch, Ref: pod, Subresource: "status", PatchType: types.MergePatchType, Patch: []byte(
		`{"status":{"phase":"Failed","containerStatuses":[{"name":"c","image":"i","imageID":"","ready":false,"restartCount":0,"state":{"terminated":{"exitCode":1}}}]}}`)})
	c.phase("main", bad, v1alpha1.ReleaseQuarantined)
	want := []string{"default/pre-bad/c 20", "no such table: users"}
	if diff := cmp.Diff(want, c.release("main", bad).Status.Hooks[0].Lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if c.get(pod) != nil {
		t.Error("the hook is not deleted")
	}
	c.eventually("the report", func() string {
		c.clock.Step(time.Second)
		page, err := c.tryGit(c.bare(), "show", "refs/heads/headway/test:commits/"+bad+".md")
		if err != nil || !strings.Contains(page, "no such table: users") {
			return page
		}
		return ""
	})
}
