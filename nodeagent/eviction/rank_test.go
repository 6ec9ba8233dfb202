package eviction_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/nodeagent/eviction"
	"github.com/headway-sh/headway/nodeagent/static"
)

// pod asks for memory and uses it, in Mi; disk is what its container has written.
func pod(name string, priority int32, asked, used, disk int64) eviction.Pod {
	p := &corev1.Pod{}
	p.Name, p.UID, p.ResourceVersion, p.Spec.Priority = name, types.UID(name), "1", &priority
	p.Spec.Containers = []corev1.Container{{Name: "app"}}
	if asked > 0 {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(asked<<20, resource.BinarySI)}
	}
	u := eviction.Used{Memory: used << 20, Disk: disk << 20, Pids: used}
	return eviction.Pod{Pod: p, Usage: eviction.Usage{Used: u, Containers: map[string]eviction.Used{"app": u}}}
}

func TestRank(t *testing.T) {
	t.Parallel()
	file := pod("file", 0, 0, 900, 900)
	file.ResourceVersion, file.Annotations = "", map[string]string{static.SourceAnnotation: "file"}
	pods := []eviction.Pod{
		pod("within", -10, 500, 400, 10), pod("a little above", 5, 100, 150, 0), pod("far above", 5, 100, 300, 20),
		pod("above, cheap", 1, 100, 101, 5), pod("nothing asked", 5, 0, 210, 30), pod("system", 2_000_000_000, 0, 900, 900), file,
	}
	for r, want := range map[corev1.ResourceName][]string{
		corev1.ResourceMemory:           {"above, cheap", "nothing asked", "far above", "a little above", "within"},
		corev1.ResourceEphemeralStorage: {"within", "above, cheap", "nothing asked", "far above", "a little above"},
		"pids":                          {"within", "above, cheap", "far above", "nothing asked", "a little above"},
	} {
		var got []string
		for _, p := range eviction.Rank(r, pods) {
			got = append(got, p.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", r, diff)
		}
	}
}

func TestMessage(t *testing.T) {
	t.Parallel()
	thresholds, err := eviction.Parse("memory.available<100Mi,nodefs.inodesFree<5%", "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	got := eviction.Message(thresholds[0], eviction.Observation{Available: 50 << 20, Capacity: gib}, pod("p", 0, 100, 200, 0))
	if want := "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container app was using 200Mi, request is 100Mi, has larger consumption of memory. "; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	got = eviction.Message(thresholds[1], eviction.Observation{Available: 30, Capacity: 1000}, pod("p", 0, 100, 200, 0))
	if want := "The node was low on resource: inodes. Threshold quantity: 50, available: 30. "; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestExceeded(t *testing.T) {
	t.Parallel()
	limited := func(containers ...string) eviction.Pod {
		p := pod("p", 0, 0, 0, 60)
		for _, limit := range containers {
			c := corev1.Container{Name: "c" + limit}
			if limit != "" {
				c.Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse(limit)}
			}
			p.Spec.Containers = append(p.Spec.Containers, c)
		}
		p.Usage.Containers["c50Mi"] = eviction.Used{Disk: 51 << 20}
		return p
	}
	volume := pod("p", 0, 0, 0, 60)
	volume.Spec.Volumes = []corev1.Volume{{Name: "cache", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: ptr.To(resource.MustParse("10Mi"))}}}}
	volume.Usage.Volumes = map[string]int64{"cache": 10 << 20}
	within := eviction.Exceeded(volume)
	volume.Usage.Volumes = map[string]int64{"cache": 10<<20 + 1}
	for name, tt := range map[string]struct{ got, want string }{
		"nothing is limited":    {eviction.Exceeded(pod("p", 0, 0, 0, 1000)), ""},
		"a volume within":       {within, ""},
		"a volume":              {eviction.Exceeded(volume), `Usage of EmptyDir volume "cache" exceeds the limit "10Mi". `},
		"the sum of containers": {eviction.Exceeded(limited("10Mi", "20Mi")), "Pod ephemeral local storage usage exceeds the total limit of containers 30Mi. "},
		"one container":         {eviction.Exceeded(limited("50Mi", "100Mi")), `Container c50Mi exceeded its local ephemeral storage limit "50Mi". `},
		"all within":            {eviction.Exceeded(limited("100Mi")), ""},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %q, want %q", name, tt.got, tt.want)
		}
	}
}
