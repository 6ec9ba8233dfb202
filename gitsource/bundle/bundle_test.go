package bundle_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/crypto/ssh"

	"github.com/headway-sh/headway/gitsource/bundle"
	"github.com/headway-sh/headway/gitsource/repo"
)

const first, second = "1111111111111111111111111111111111111111", "2222222222222222222222222222222222222222"

// blobs are the images of a test, by digest.
type blobs map[digest.Digest][]byte

func (b blobs) add(kind string, content []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: kind, Digest: digest.FromBytes(content), Size: int64(len(content))}
	b[d.Digest] = content
	return d
}

func (b blobs) document(t testing.TB, kind string, content any) ocispec.Descriptor {
	t.Helper()
	text, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	return b.add(kind, text)
}

func (b blobs) open(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(b[d.Digest])), nil
}

// content is a bundle of one image with two layers, the first of which may be
// left to the base.
func content(t testing.TB, all blobs, layer []byte) *bundle.Content {
	t.Helper()
	config := all.document(t, ocispec.MediaTypeImageConfig, ocispec.Image{})
	base := all.add(ocispec.MediaTypeImageLayerGzip, zip(t, strings.NewReader("base")))
	top := all.add(ocispec.MediaTypeImageLayerGzip, layer)
	manifest := all.document(t, ocispec.MediaTypeImageManifest, ocispec.Manifest{Config: config, Layers: []ocispec.Descriptor{base, top}})
	index := all.document(t, ocispec.MediaTypeImageIndex, ocispec.Index{Manifests: []ocispec.Descriptor{
		{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("another platform"), Size: 5}, manifest,
	}})
	history := filepath.Join(t.TempDir(), "history")
	if err := os.WriteFile(history, []byte("# v2 git bundle\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &bundle.Content{
		Manifest: bundle.Manifest{Made: time.Unix(1e9, 0).UTC(), Commit: second, Source: bundle.Source{Name: "main", Branch: "main"}, Subject: "two"},
		History:  history, Open: all.open,
		Objects: []bundle.Object{{APIVersion: "v1", Kind: "ConfigMap", Name: "web", SHA256: strings.Repeat("ab", 32)}},
		Images:  []bundle.Image{{Name: "example.org/web:1", Target: index}},
		Blobs:   []ocispec.Descriptor{index, manifest, config, base, top},
	}
}

func zip(t testing.TB, r io.Reader) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := io.Copy(w, r); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func write(t testing.TB, c *bundle.Content, key ssh.Signer) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := bundle.Write(t.Context(), &out, c, key); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func file(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.bundle")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	all := blobs{}
	c := content(t, all, zip(t, strings.NewReader("top")))
	b, err := bundle.Open(file(t, write(t, c, nil)))
	if err != nil {
		t.Fatal(err)
	}
	var history bytes.Buffer
	got, err := b.Verify(t.Context(), &history)
	if err != nil {
		t.Fatal(err)
	}
	want := &bundle.Contents{Objects: c.Objects, Images: c.Images}
	if diff := cmp.Diff(want, got); diff != "" || history.String() != "# v2 git bundle\n" || b.IsSigned() {
		t.Errorf("history %q, signed %v (-want +got):\n%s", history.String(), b.IsSigned(), diff)
	}
	var layout bytes.Buffer
	if err := b.Layout(t.Context(), &layout); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for r := tar.NewReader(&layout); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names[h.Name] = true
	}
	if len(names) != 7 || !names["oci-layout"] || !names["index.json"] {
		t.Errorf("the layout has %v", names)
	}

	// What the base has can be left to it.
	base := c.Blobs[3]
	c.Manifest.Since, c.Blobs = first, append(c.Blobs[:3:3], c.Blobs[4])
	if b, err = bundle.Open(file(t, write(t, c, nil))); err != nil {
		t.Fatal(err)
	}
	got, err = b.Verify(t.Context(), io.Discard)
	if err != nil || len(got.Needs) != 1 || got.Needs[0].Digest != base.Digest {
		t.Errorf("it needs %v, %v; want %s", got, err, base.Digest)
	}
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	private, public, err := bundle.NewKey("jane@example.org")
	if err != nil {
		t.Fatal(err)
	}
	key, err := bundle.ParseKey(private)
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := bundle.NewKey("eve")
	if err != nil {
		t.Fatal(err)
	}
	all := blobs{}
	c := content(t, all, zip(t, strings.NewReader("top")))
	signed, unsigned := write(t, c, key), write(t, c, nil)
	for name, test := range map[string]struct {
		bundle  []byte
		trusted string
		want    string // of the error; empty: signed by jane
	}{
		"a public key's file":     {signed, string(public), ""},
		"a list":                  {signed, "# ours\n" + string(other) + string(public), ""},
		"a list of allowed ones":  {signed, `jane@example.org namespaces="headway-bundle" ` + string(public), ""},
		"allowed for git":         {signed, `jane@example.org namespaces="git" ` + string(public), "nobody is known to have"},
		"expired":                 {signed, `jane@example.org valid-before="20000101" ` + string(public), "expired"},
		"somebody else's":         {signed, string(other), "nobody is known to have"},
		"unsigned":                {unsigned, string(public), "is not signed"},
		"another manifest's":      {swap(t, signed, "manifest.json", func(b []byte) []byte { return bytes.Replace(b, []byte(`"two"`), []byte(`"owt"`), 1) }), string(public), "broken"},
		"for git, and not for us": {swap(t, signed, "manifest.sig", func([]byte) []byte { return sshSign(t, private, "git", manifestOf(t, signed)) }), string(public), "made for"},
		"made by ssh-keygen":      {swap(t, signed, "manifest.sig", func([]byte) []byte { return sshSign(t, private, "headway-bundle", manifestOf(t, signed)) }), string(public), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := bundle.Open(file(t, test.bundle))
			if err != nil {
				t.Fatal(err)
			}
			trusted, err := bundle.ParseTrusted([]byte(test.trusted))
			if err != nil {
				t.Fatal(err)
			}
			who, err := b.CheckSignature(trusted, time.Unix(2e9, 0))
			switch {
			case test.want == "" && (err != nil || !strings.Contains(who, "jane@example.org")):
				t.Errorf("signed by %q, %v", who, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("signed by %q, %v; want %q", who, err, test.want)
			}
		})
	}
	if _, err := bundle.ParseTrusted([]byte("# nobody\n")); err == nil {
		t.Error("an empty list is taken")
	}
}

// sshSign signs with OpenSSH's own program.
func sshSign(t *testing.T, private []byte, namespace string, payload []byte) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, private, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-Y", "sign", "-f", path, "-n", namespace)
	cmd.Stdin = bytes.NewReader(payload)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// swap changes the content of a part and nothing else.
func swap(t testing.TB, whole []byte, part string, change func([]byte) []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for r := tar.NewReader(bytes.NewReader(whole)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		content, readErr := io.ReadAll(r)
		if err = errors.Join(err, readErr); err != nil {
			t.Fatal(err)
		}
		if h.Name == part {
			content = change(content)
			if content == nil {
				continue
			}
		}
		h.Size = int64(len(content))
		_, writeErr := func() (int, error) {
			if err := w.WriteHeader(h); err != nil {
				return 0, err
			}
			return w.Write(content)
		}()
		if writeErr != nil {
			t.Fatal(writeErr)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func manifestOf(t *testing.T, whole []byte) (text []byte) {
	t.Helper()
	swap(t, whole, "manifest.json", func(b []byte) []byte {
		text = b
		return b
	})
	return text
}

// TestDamage: whatever is wrong with a bundle is found before anybody writes.
func TestDamage(t *testing.T) {
	t.Parallel()
	all := blobs{}
	c := content(t, all, zip(t, strings.NewReader("top")))
	good := write(t, c, nil)
	edit := func(old, new string) []byte {
		return swap(t, good, "manifest.json", func(b []byte) []byte {
			if !bytes.Contains(b, []byte(old)) {
				t.Fatalf("no %q in %s", old, b)
			}
			return bytes.Replace(b, []byte(old), []byte(new), 1)
		})
	}
	top := "images/blobs/sha256/" + c.Blobs[4].Digest.Encoded()
	without := func(n int) []byte {
		less := *c
		less.Blobs = append(c.Blobs[:n:n], c.Blobs[n+1:]...)
		return write(t, &less, nil)
	}
	bomb := content(t, blobs{}, zip(t, io.LimitReader(zeros{}, 4<<20)))
	stray := *c
	stray.Blobs = append(c.Blobs[:5:5], all.add("x", []byte("stray")))
	for name, test := range map[string]struct {
		bundle []byte
		want   string
	}{
		"no tar":                  {[]byte("#!/bin/sh\n"), "no bundle of headway"},
		"empty":                   {nil, "no bundle of headway"},
		"another tar":             {swap(t, good, "manifest.json", func([]byte) []byte { return nil }), "no bundle of headway"},
		"half a manifest":         {good[:700], "EOF"},
		"cut off in a layer":      {good[:len(good)-1600], "cut off"},
		"cut off before a part":   {good[:len(good)-2560], "cut off"},
		"a flipped bit":           {swap(t, good, top, func(b []byte) []byte { b[len(b)-9] ^= 1; return b }), "tampered"},
		"a longer part":           {swap(t, good, top, func(b []byte) []byte { return append(b, 0) }), "the manifest says"},
		"a part less":             {swap(t, good, top, func([]byte) []byte { return nil }), "cut off"},
		"a newer version":         {edit(`"version":1`, `"version":2`), "as new as"},
		"a name that leads out":   {edit(`"name":"images/oci-layout"`, `"name":"../../etc/passwd"`), "nothing may be called"},
		"an absolute name":        {edit(`"name":"`+top+`"`, `"name":"/etc/passwd"`), "nothing may be called"},
		"a blob that leads out":   {edit(`"name":"`+top+`"`, `"name":"images/blobs/sha256/../../x"`), "nothing may be called"},
		"a branch that leads out": {edit(`"branch":"main"`, `"branch":"../../x"`), "is no branch"},
		"a commit that is none":   {edit(second, "HEAD"), "not a commit id"},
		"a part twice":            {edit(`"name":"images/oci-layout"`, `"name":"history.bundle"`), ""},
		"a huge list of objects":  {edit(`"name":"objects.json","size":`, `"name":"objects.json","size":99`), "says 99"},
		"a layer that is missing": {without(4), "is missing"},
		"no manifest":             {without(1), "no image names it"},
		"a blob of nobody":        {write(t, &stray, nil), "no image names it"},
		"a bomb":                  {write(t, bomb, nil), "inflates to more than"},
		"something more": {func() []byte {
			var out bytes.Buffer
			w := tar.NewWriter(&out)
			_ = w.WriteHeader(&tar.Header{Name: "../x", Size: 0})
			_ = w.Close()
			return append(good[:len(good)-1024:len(good)-1024], out.Bytes()...)
		}(), "does not know"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := bundle.Open(file(t, test.bundle))
			if err == nil {
				b.SetFreely(1 << 20)
				_, err = b.Verify(t.Context(), io.Discard)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("it says %v, want %q", err, test.want)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func FuzzOpen(f *testing.F) {
	all := blobs{}
	f.Add(write(f, content(f, all, zip(f, strings.NewReader("top"))), nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := bundle.Open(file(t, data))
		if err != nil {
			return
		}
		got, err := b.Verify(t.Context(), io.Discard)
		if err == nil && (got == nil || b.Manifest.Size() > int64(len(data))) {
			t.Errorf("%d bytes are %d bytes of parts", len(data), b.Manifest.Size())
		}
	})
}

// TestHistory takes bundles into repositories.
func TestHistory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+dir, "GIT_AUTHOR_NAME=J", "GIT_AUTHOR_EMAIL=j@x", "GIT_COMMITTER_NAME=J", "GIT_COMMITTER_EMAIL=j@x")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", "main")
	var ids []string
	for _, name := range []string{"one", "two", "three"} {
		git("commit", "-q", "--allow-empty", "-m", name)
		ids = append(ids, git("rev-parse", "HEAD"))
	}
	git("tag", "v1", ids[1])
	git("checkout", "-q", "-b", "other", ids[0])
	git("commit", "-q", "--allow-empty", "-m", "elsewhere")
	elsewhere := git("rev-parse", "HEAD")
	from, err := repo.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = from.Close() })
	id := func(text string) repo.ID {
		id, err := repo.ParseID(text)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	make := func(commit, since string) (*bundle.Bundle, string) {
		t.Helper()
		history := filepath.Join(t.TempDir(), "history")
		f, err := os.Create(history)
		if err != nil {
			t.Fatal(err)
		}
		b := repo.NewBundle{Refs: map[string]repo.ID{"refs/heads/main": id(commit)}}
		if since != "" {
			b.Since = id(since)
		}
		if commit == ids[1] {
			b.Refs["refs/tags/v1"] = id(commit)
		}
		if err := errors.Join(from.WriteBundle(t.Context(), f, b), f.Close()); err != nil {
			t.Fatal(err)
		}
		opened, err := bundle.Open(file(t, write(t, &bundle.Content{Manifest: bundle.Manifest{Commit: commit, Since: since, Source: bundle.Source{Name: "main", Branch: "main"}}, History: history}, nil)))
		if err != nil {
			t.Fatal(err)
		}
		return opened, history
	}
	target, err := repo.OpenMirror(filepath.Join(t.TempDir(), "r.git"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = target.Close() })
	take := func(commit, since, want string) {
		t.Helper()
		b, history := make(commit, since)
		beside, there, err := b.CheckHistory(t.Context(), target, history, filepath.Join(t.TempDir(), "s"))
		if beside != nil {
			_ = beside.Close()
		}
		if err == nil && !there {
			err = b.TakeHistory(t.Context(), target, history)
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Fatalf("%v; want %q", err, want)
		}
	}
	at := func(name, want string) {
		t.Helper()
		if tip, err := target.Tip(name); err != nil || tip != id(want) {
			t.Fatalf("%s is at %s, %v; want %s", name, tip, err, want)
		}
	}
	take(ids[2], ids[1], "builds on commit "+ids[1])
	take(ids[1], "", "")
	at("refs/heads/main", ids[1])
	at("refs/tags/v1", ids[1])
	take(elsewhere, "", "would lose commits")
	take(ids[0], "", "") // it is beyond that
	at("refs/heads/main", ids[1])
	take(ids[2], ids[1], "")
	take(ids[2], ids[1], "") // again
	at("refs/heads/main", ids[2])
}
