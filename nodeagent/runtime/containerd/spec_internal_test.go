package containerd

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

func TestResolveUser(t *testing.T) {
	t.Parallel()
	files := userFiles{
		passwd: []byte("root:x:0:0::/root:/bin/sh\napp:x:1000:100::/:/bin/sh\nbad line\nneg:x:-1:0::/:\n"),
		group:  []byte("root:x:0:\nusers:x:100:\nextra:x:2000:other,app\n"),
	}
	for _, tc := range []struct {
		name, image string
		config      runtime.ContainerConfig
		want        specs.User
		wantErr     string
	}{
		{name: "nothing is root", want: specs.User{AdditionalGids: []uint32{0}}},
		{name: "name in the image", image: "app", want: specs.User{UID: 1000, GID: 100, AdditionalGids: []uint32{100, 2000}}},
		{name: "number in the image", image: "1000", want: specs.User{UID: 1000, GID: 100, AdditionalGids: []uint32{100, 2000}}},
		{name: "group by name", image: "app:extra", want: specs.User{UID: 1000, GID: 2000, AdditionalGids: []uint32{2000}}},
		{name: "strict groups", image: "app", config: runtime.ContainerConfig{StrictGroups: true}, want: specs.User{UID: 1000, GID: 100, AdditionalGids: []uint32{100}}},
		{name: "unknown number", image: "7:8", want: specs.User{UID: 7, GID: 8, AdditionalGids: []uint32{8}}},
		{name: "unknown name", image: "nobody", wantErr: `user "nobody"`},
		{name: "unknown group", image: "0:none", wantErr: `group "none"`},
		{name: "a number that is none", image: "neg", wantErr: `user "neg"`},
		{
			name: "the pod decides", image: "nobody:none",
			config: runtime.ContainerConfig{RunAsUser: ptr.To[int64](5), RunAsGroup: ptr.To[int64](6), SupplementalGroups: []int64{9, 6}},
			want:   specs.User{UID: 5, GID: 6, AdditionalGids: []uint32{6, 9}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := resolveUser(tc.config, tc.image, files)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("error %v, want %s", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("user (-want +got):\n%s", diff)
			}
		})
	}
}

// TestHostileUserFiles is about images whose user files try to lead outside.
func TestHostileUserFiles(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	upper, lower := t.TempDir(), t.TempDir()
	for path, content := range map[string]string{
		secret: "app:x:0:0::/:\n", filepath.Join(lower, "passwd"): "",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{upper, lower} {
		if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(secret, filepath.Join(upper, "etc", "passwd")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(lower, "etc", "group"), make([]byte, 2*maxUserFile), 0o600); err != nil {
		t.Fatal(err)
	}
	files := readUserFiles([]string{upper, lower})
	if len(files.passwd) != 0 {
		t.Errorf("read outside of the image: %q", files.passwd)
	}
	if len(files.group) != maxUserFile {
		t.Errorf("read %d bytes", len(files.group))
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	image := ocispec.ImageConfig{Entrypoint: []string{"entry"}, Cmd: []string{"cmd"}}
	for _, tc := range []struct{ name, command, args, want string }{
		{"image", "", "", "entry cmd"},
		{"args", "", "a", "entry a"},
		{"command", "c", "", "c"},
		{"both", "c", "a", "c a"},
	} {
		config := runtime.ContainerConfig{Command: strings.Fields(tc.command), Args: strings.Fields(tc.args)}
		got, err := arguments(config, image)
		if err != nil || strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %q, %v; want %q", tc.name, got, err, tc.want)
		}
	}
	if _, err := arguments(runtime.ContainerConfig{}, ocispec.ImageConfig{}); err == nil {
		t.Error("no command worked")
	}
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	host := hostFacts{capabilities: slices.Concat(defaultCapabilities, []string{"CAP_NET_ADMIN"})}
	for _, tc := range []struct {
		name      string
		add, drop []string
		want      []string
		wantErr   bool
	}{
		{name: "default", want: defaultCapabilities},
		{name: "drop all, add one", drop: []string{"ALL"}, add: []string{"net_admin"}, want: []string{"CAP_NET_ADMIN"}},
		{name: "add all, drop one", add: []string{"ALL"}, drop: []string{"CAP_NET_ADMIN"}, want: defaultCapabilities},
		{name: "what the node has not", add: []string{"SYS_RESOURCE"}, wantErr: true},
	} {
		got, err := capabilities(runtime.ContainerConfig{CapAdd: tc.add, CapDrop: tc.drop}, host)
		if (err != nil) != tc.wantErr {
			t.Errorf("%s: %v", tc.name, err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
	if got := (hostFacts{}).oomScore(-998); got != 0 {
		t.Errorf("score %d without the capability", got)
	}
}
