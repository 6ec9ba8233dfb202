package shutdown_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/nodeagent/shutdown"
	"github.com/headway-sh/headway/nodeagent/static"
)

func TestOrder(t *testing.T) {
	t.Parallel()
	plain := func(name string, grace int64) *corev1.Pod {
		p := &corev1.Pod{}
		p.Name, p.ResourceVersion, p.Spec.TerminationGracePeriodSeconds = name, "1", &grace
		return p
	}
	system := plain("system", 60)
	system.Spec.Priority = ptr.To[int32](2_000_000_000)
	file := plain("file", 5)
	file.ResourceVersion, file.Annotations = "", map[string]string{static.SourceAnnotation: "file"}
	for name, tt := range map[string]struct {
		pods []*corev1.Pod
		want []string
	}{
		"nothing":       {nil, nil},
		"both kinds":    {[]*corev1.Pod{system, plain("long", 60), plain("short", 3), file, plain("at once", 0)}, []string{"20s: long 20s, short 3s, at once 1s", "10s: system 10s, file 5s"}},
		"ordinary only": {[]*corev1.Pod{plain("long", 60)}, []string{"30s: long 30s"}},
		"critical only": {[]*corev1.Pod{system}, []string{"30s: system 30s"}},
	} {
		var got []string
		for _, g := range shutdown.Order(tt.pods, shutdown.Default) {
			text := g.Period.String() + ":"
			for i, p := range g.Pods {
				text += fmt.Sprintf("%s %s %s", map[bool]string{true: ",", false: ""}[i > 0], p.Name, g.Grace(p))
			}
			got = append(got, text)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	if (shutdown.Periods{Total: time.Second, Critical: 2 * time.Second}).Validate() == nil || shutdown.Default.Validate() != nil {
		t.Error("periods are not judged")
	}
}
