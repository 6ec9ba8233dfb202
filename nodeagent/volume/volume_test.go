package volume_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/nodeagent/env"
	"github.com/headway-sh/headway/nodeagent/follow"
	"github.com/headway-sh/headway/nodeagent/volume"
)

type objects map[string]client.Object

func (o objects) Get(_ context.Context, ref follow.Ref, _ types.UID) (client.Object, error) {
	if object := o[string(ref.Kind)+"/"+ref.Name]; object != nil {
		return object, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("things"), ref.Name)
}

func newVolumes(t *testing.T, o objects) *volume.Volumes {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	return volume.New(volume.Config{Dir: t.TempDir(), Objects: o, Clock: clocktesting.NewFakePassiveClock(time.Unix(1000, 0)), Logger: slog.New(slog.DiscardHandler)})
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestPayloads(t *testing.T) {
	t.Parallel()
	secret := &corev1.Secret{Data: map[string][]byte{"password": []byte("one"), "user": []byte("jane")}}
	v := newVolumes(t, objects{"Secret/s": secret})
	mode := int32(0o400)
	group := int64(4711)
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		SecurityContext: &corev1.PodSecurityContext{FSGroup: &group},
		Volumes: []corev1.Volume{
			{Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s", DefaultMode: &mode}}},
			{Name: "down", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "sub/labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}}},
			{Name: "ram", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}},
		}}}
	pod.UID, pod.Labels = "u1", map[string]string{"app": "web"}
	paths, err := v.SetUp(t.Context(), pod, env.Facts{Pod: pod})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.TearDown("u1"); err != nil {
			t.Error(err)
		}
	})
	if got := read(t, paths["s"], "password"); got != "one" {
		t.Errorf("secret %q", got)
	}
	if got := read(t, paths["down"], "sub/labels"); got != `app="web"` {
		t.Errorf("labels %q", got)
	}
	if info, err := os.Stat(filepath.Join(paths["s"], "user")); err != nil || info.Mode().Perm() != 0o440 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	before, _ := os.Readlink(filepath.Join(paths["s"], "..data"))
	if err := v.Refresh(t.Context(), pod, env.Facts{Pod: pod}); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.Readlink(filepath.Join(paths["s"], "..data")); after != before {
		t.Error("an unchanged volume was written anew")
	}
	secret.Data = map[string][]byte{"password": []byte("two")}
	if err := v.Refresh(t.Context(), pod, env.Facts{Pod: pod}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, paths["s"], "password"); got != "two" {
		t.Errorf("secret %q", got)
	}
	if entries, _ := os.ReadDir(paths["s"]); len(entries) != 3 { // ..data, its directory, password
		t.Errorf("entries %v", entries)
	}
	mounts := read(t, "/proc/self/mountinfo")
	for _, name := range []string{"s", "ram"} {
		if !strings.Contains(mounts, paths[name]+" ") {
			t.Errorf("%s is not on tmpfs", name)
		}
	}
	if err := v.TearDown("u1"); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(read(t, "/proc/self/mountinfo"), v.Dir) {
		t.Error("something is left mounted")
	}
	pod.Spec.Volumes[0].Secret.Items = []corev1.KeyToPath{{Key: "password", Path: "../out"}}
	if _, err := v.SetUp(t.Context(), pod, env.Facts{Pod: pod}); err == nil {
		t.Error("a path that leads out was written")
	}
}

func TestSubPath(t *testing.T) {
	t.Parallel()
	v := newVolumes(t, nil)
	pod := &corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "d", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}}}
	pod.UID = "u1"
	paths, err := v.SetUp(t.Context(), pod, env.Facts{Pod: pod})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.TearDown("u1"); err != nil {
			t.Error(err)
		}
	})
	if err := os.Symlink("/etc", filepath.Join(paths["d"], "escape")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("inside", filepath.Join(paths["d"], "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(paths["d"], "inside"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		sub  string
		fine bool
	}{
		"new directory": {"a/b", true}, "link within": {"link", true}, "link out": {"escape", false}, "below a link out": {"escape/ssh", false},
		"new below a link out": {"escape/new-of-the-test", false}, "dots": {"../x", false}, "absolute": {"/etc", false},
	} {
		c := &corev1.Container{Name: strings.ReplaceAll(name, " ", "-"), VolumeMounts: []corev1.VolumeMount{{Name: "d", MountPath: "/m", SubPath: tc.sub}}}
		mounts, err := v.Mounts(pod, c, paths, nil)
		if (err == nil) != tc.fine {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			if err := os.WriteFile(filepath.Join(mounts[0].Source, "seen"), nil, 0o600); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for _, path := range []string{"a/b/seen", "inside/seen"} {
		if _, err := os.Stat(filepath.Join(paths["d"], path)); err != nil {
			t.Error(err)
		}
	}
}

// Memory volumes are no larger than the pod's limit of memory, or their own.
func TestMemoryVolumesAreBounded(t *testing.T) {
	t.Parallel()
	v := newVolumes(t, nil)
	own := resource.MustParse("1Mi")
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("4Mi")}}}},
		Volumes: []corev1.Volume{
			{Name: "pods", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}},
			{Name: "own", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &own}}},
		}}}
	pod.UID = "u3"
	paths, err := v.SetUp(t.Context(), pod, env.Facts{Pod: pod})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.TearDown("u3"); err != nil {
			t.Error(err)
		}
	})
	for name, want := range map[string]int64{"pods": 4 << 20, "own": 1 << 20} {
		var s unix.Statfs_t
		if err := unix.Statfs(paths[name], &s); err != nil || int64(s.Blocks)*s.Bsize != want {
			t.Errorf("%s has %d bytes, %v, want %d", name, int64(s.Blocks)*s.Bsize, err, want)
		}
	}
}

func TestWhatIsNotServedIsSaid(t *testing.T) {
	t.Parallel()
	v := newVolumes(t, nil)
	for want, p := range map[string]corev1.VolumeProjection{
		"ClusterTrustBundles":    {ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Path: "ca"}},
		"PodCertificateRequests": {PodCertificate: &corev1.PodCertificateProjection{}},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
			Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{p}}}}}}}
		pod.UID = "u4"
		if _, err := v.SetUp(t.Context(), pod, env.Facts{Pod: pod}); err == nil || !strings.Contains(err.Error(), "serves no "+want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// Image volumes are read-only, and nothing in them is run.
func TestImageVolumesAreData(t *testing.T) {
	t.Parallel()
	v := newVolumes(t, nil)
	pod := &corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "i", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "x"}}}}}}
	c := &corev1.Container{VolumeMounts: []corev1.VolumeMount{{Name: "i", MountPath: "/i"}}}
	mounts, err := v.Mounts(pod, c, map[string]string{"i": "/somewhere"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, option := range []string{"ro", "noexec", "nosuid", "nodev"} {
		if !slices.Contains(mounts[0].Options, option) {
			t.Errorf("options %v lack %s", mounts[0].Options, option)
		}
	}
}
