package encryption_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/headway-sh/headway/apiserver/encryption"
)

var (
	secrets = schema.GroupResource{Resource: "secrets"}
	maps    = schema.GroupResource{Resource: "configmaps"}
	widgets = schema.GroupResource{Group: "shop.example", Resource: "widgets"}
)

const storageKey = "/registry/secrets/shop/password"

// config seals resources by providers, each "PROVIDER NAME" or "identity".
func config(resources string, providers ...string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n- resources: [%s]\n  providers:\n", resources)
	for _, p := range providers {
		provider, name, keyed := strings.Cut(p, " ")
		if !keyed {
			fmt.Fprintf(&b, "  - %s: {}\n", provider)
			continue
		}
		secret := base64.StdEncoding.EncodeToString([]byte(fmt.Sprintf("%-32s", name)))
		fmt.Fprintf(&b, "  - %s: {keys: [{name: %s, secret: %s}]}\n", provider, name, secret)
	}
	return []byte(b.String())
}

func ring(t *testing.T, text []byte) *encryption.Ring {
	t.Helper()
	r, err := encryption.NewRing(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEveryProviderSealsAndOpens(t *testing.T) {
	t.Parallel()
	plain := []byte("k8s\x00the plain value")
	for _, provider := range []string{"aescbc", "aesgcm", "secretbox"} {
		r := ring(t, config("secrets", provider+" one", "identity"))
		sealed, err := r.Seal(secrets, storageKey, plain)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(sealed, []byte("k8s:enc:"+provider+":v1:one:")) || bytes.Contains(sealed, []byte("plain")) {
			t.Errorf("%s: stored as %q", provider, sealed)
		}
		if got, err := r.Open(secrets, storageKey, sealed); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: opened as %q, %v", provider, got, err)
		}
		if got, err := r.Open(secrets, storageKey, plain); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: a value from before is %q, %v", provider, got, err)
		}
		if name := encryption.Named(sealed); name != provider+"/one" || r.Stale(secrets, sealed) || !r.Stale(secrets, plain) {
			t.Errorf("%s: named %q, stale %v, plain stale %v", provider, name, r.Stale(secrets, sealed), r.Stale(secrets, plain))
		}
		sealed[len(sealed)-1] ^= 1
		if got, err := r.Open(secrets, storageKey, sealed); err == nil && bytes.Equal(got, plain) {
			t.Errorf("%s: a damaged value was opened", provider)
		}
	}
}

func TestTheStorageKeyIsAuthenticated(t *testing.T) {
	t.Parallel()
	r := ring(t, config("secrets", "aesgcm one"))
	sealed, err := r.Seal(secrets, storageKey, []byte("value"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Open(secrets, storageKey+"2", sealed); err == nil {
		t.Error("a value that was moved to another key was opened")
	}
}

func TestTheFirstMatchingListDecides(t *testing.T) {
	t.Parallel()
	text := append(config("configmaps", "identity"), bytes.SplitN(config("'*.*'", "secretbox all"), []byte("resources:\n"), 2)[1]...)
	r := ring(t, text)
	for resource, want := range map[schema.GroupResource]string{maps: "identity", secrets: "secretbox/all", widgets: "secretbox/all"} {
		if got := r.Current(resource); got != want {
			t.Errorf("%s is sealed by %s, want %s", resource, got, want)
		}
	}
	group := ring(t, config("'*.shop.example'", "secretbox shop"))
	if !group.Seals(widgets) || group.Seals(secrets) {
		t.Errorf("a group's list: widgets %v, secrets %v", group.Seals(widgets), group.Seals(secrets))
	}
}

func TestRotationKeepsWhatIsStoredReadable(t *testing.T) {
	t.Parallel()
	before := ring(t, config("secrets", "aescbc one"))
	sealed, err := before.Seal(secrets, storageKey, []byte("value"))
	if err != nil {
		t.Fatal(err)
	}
	after := ring(t, config("secrets", "secretbox two", "aescbc one"))
	if got, err := after.Open(secrets, storageKey, sealed); err != nil || string(got) != "value" || !after.Stale(secrets, sealed) {
		t.Errorf("under the next configuration: %q, %v, stale %v", got, err, after.Stale(secrets, sealed))
	}
	last := ring(t, config("secrets", "secretbox two"))
	var unknown *encryption.UnknownKeyError
	if _, err := last.Open(secrets, storageKey, sealed); !errors.As(err, &unknown) || unknown.Key != "aescbc/one" {
		t.Errorf("without the key: %v", err)
	}
	if err := last.AlsoOpen(config("secrets", "aescbc one")); err != nil {
		t.Fatal(err)
	}
	if got, err := last.Open(secrets, storageKey, sealed); err != nil || string(got) != "value" {
		t.Errorf("by the older configuration: %q, %v", got, err)
	}
	if _, err := ring(t, config("configmaps", "secretbox two")).Open(secrets, storageKey, sealed); !errors.As(err, &unknown) {
		t.Errorf("a sealed value of a resource that is not configured: %v", err)
	}
}

func TestWrongConfigurationsAreRefused(t *testing.T) {
	t.Parallel()
	short := strings.Replace(string(config("secrets", "secretbox one")), base64.StdEncoding.EncodeToString([]byte(fmt.Sprintf("%-32s", "one"))), "c2hvcnQ=", 1)
	for name, text := range map[string]string{
		"nonsense":      "a: [",
		"empty":         "",
		"another kind":  "kind: Secret\napiVersion: v1\n",
		"unknown field": string(config("secrets", "identity")) + "extra: 1\n",
		"short key":     short,
		"no provider":   "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n- resources: [secrets]\n",
		"overlapping":   string(config("secrets, '*.'", "identity")),
		"kms":           string(config("secrets", "kms")),
	} {
		if _, err := encryption.NewRing([]byte(text)); err == nil {
			t.Errorf("%s was accepted", name)
		} else if name == "kms" && !errors.Is(err, encryption.ErrKMS) {
			t.Errorf("kms: %v", err)
		}
	}
}

func TestFollowTakesAnotherConfigurationAndKeepsAGoodOne(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "encryption.yaml")
	replace := func(text []byte) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path+".new", text, 0o600), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	replace(config("secrets", "aescbc one"))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := ring(t, text)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Follow(ctx, path, slog.New(slog.DiscardHandler)) }()
	await := func(want string) {
		t.Helper()
		err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
			return r.Current(secrets) == want, nil
		})
		if err != nil {
			t.Fatalf("sealed by %s, want %s", r.Current(secrets), want)
		}
	}
	replace(config("secrets", "secretbox two", "aescbc one"))
	await("secretbox/two")
	replace([]byte("kind: nothing"))
	replace(config("secrets", "aesgcm three"))
	await("aesgcm/three")
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestKeyfileGoesOnWithARotation(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	file := encryption.Keyfile{Path: filepath.Join(t.TempDir(), "pki", "encryption.yaml")}
	must := func(text []byte, err error) *encryption.Ring {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return ring(t, text)
	}
	first := must(file.Load(now)).Current(secrets)
	if again := must(file.Load(now.Add(time.Hour))).Current(secrets); again != first {
		t.Errorf("a second start has key %s, want %s", again, first)
	}
	if info, err := os.Stat(file.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode: %v, %v", info.Mode(), err)
	}
	second := must(file.Begin(now)).Current(secrets)
	if second == first {
		t.Errorf("the new key has the old one's name %s", first)
	}
	if again := must(file.Begin(now.Add(time.Hour))).Current(secrets); again != second {
		t.Errorf("a rotation that goes on has key %s, want %s", again, second)
	}
	if rotating, err := file.Rotating(); err != nil || !rotating {
		t.Errorf("rotating: %v, %v", rotating, err)
	}
	if last := must(file.Finish()).Current(secrets); last != second {
		t.Errorf("finished with %s, want %s", last, second)
	}
	if rotating, err := file.Rotating(); err != nil || rotating {
		t.Errorf("rotating after the end: %v, %v", rotating, err)
	}
}

func FuzzOpen(f *testing.F) {
	r, err := encryption.NewRing(config("secrets", "secretbox one", "aescbc two", "aesgcm three", "identity"))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "k8s:enc:", "k8s:enc:aescbc:v1:two:", "k8s:enc:aesgcm:v1:three:x", "k8s:enc:secretbox:v1:one:0123456789", "k8s\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stored []byte) {
		plain, err := r.Open(secrets, storageKey, stored)
		if err == nil && bytes.HasPrefix(stored, []byte("k8s:enc:")) {
			t.Errorf("%q was opened as %q", stored, plain)
		}
		if encryption.Named(stored) == "" {
			t.Errorf("%q has no name", stored)
		}
	})
}
