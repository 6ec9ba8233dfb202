package verify_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha512"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"golang.org/x/crypto/ssh"

	"github.com/headway-sh/headway/gitsource/verify"
)

var (
	now     = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	payload = []byte("tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n\nfirst\n")
)

// sshKey signs as ssh-keygen -Y sign does.
type sshKey struct{ signer ssh.Signer }

func newSSH(t *testing.T) sshKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return sshKey{signer}
}

func (k sshKey) line(before string) string {
	return before + " " + string(ssh.MarshalAuthorizedKey(k.signer.PublicKey()))
}

func (k sshKey) sign(t *testing.T, content []byte, namespace, hash string) string {
	t.Helper()
	sum := sha512.Sum512(content)
	data := append([]byte("SSHSIG"), ssh.Marshal(struct{ Namespace, Reserved, Hash, Digest string }{namespace, "", hash, string(sum[:])})...)
	made, err := k.signer.Sign(rand.Reader, data)
	if err != nil {
		t.Fatal(err)
	}
	blob := append([]byte("SSHSIG"), ssh.Marshal(struct {
		Version                                   uint32
		Key, Namespace, Reserved, Hash, Signature string
	}{1, string(k.signer.PublicKey().Marshal()), namespace, "", hash, string(ssh.Marshal(made))})...)
	return string(pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: blob}))
}

func TestSSH(t *testing.T) {
	t.Parallel()
	k, other := newSSH(t), newSSH(t)
	good := k.sign(t, payload, "git", "sha512")
	for name, c := range map[string]struct {
		allowed, signature string
		names              []string
		want               string // part of the error; empty: good
	}{
		"good":                   {k.line("jane@example.org"), good, nil, ""},
		"second line":            {"# people\n" + other.line("x@example.org") + k.line(`"jane@example.org,j@example.org"`), good, []string{"J@example.org"}, ""},
		"for git":                {k.line(`jane@example.org namespaces="file,git"`), good, nil, ""},
		"in time":                {k.line(`jane@example.org valid-after="20260101",valid-before="20260401Z"`), good, nil, ""},
		"not for git":            {k.line(`jane@example.org namespaces="file"`), good, nil, "nobody is known to have"},
		"expired":                {k.line(`jane@example.org valid-before="20260301"`), good, nil, "expired on 2026-03-01"},
		"not yet":                {k.line(`jane@example.org valid-after="202604011200"`), good, nil, "counts from 2026-04-01"},
		"another name":           {k.line("jane@example.org"), good, []string{"joe@example.org"}, "who is not among joe@example.org"},
		"stranger":               {other.line("joe@example.org"), good, nil, "nobody is known to have"},
		"made for files":         {k.line("jane@example.org"), k.sign(t, payload, "file", "sha512"), nil, "not for git"},
		"weak hash":              {k.line("jane@example.org"), k.sign(t, payload, "git", "md5"), nil, "not believed"},
		"of another commit":      {k.line("jane@example.org"), k.sign(t, []byte("x"), "git", "sha512"), nil, "broken SSH signature"},
		"unsigned":               {k.line("jane@example.org"), "", nil, "is not signed"},
		"X.509":                  {k.line("jane@example.org"), "-----BEGIN SIGNED MESSAGE-----\n", nil, "neither PGP nor SSH"},
		"nonsense":               {k.line("jane@example.org"), "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n", nil, "damaged"},
		"nobody may":             {"", good, nil, "nobody is known to have"},
		"PGP where only SSH may": {k.line("jane@example.org"), newPGP(t, now, 0).sign(t, payload, now), nil, "not signed by a known PGP key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var keys verify.Keys
			if err := keys.Add([]byte(c.allowed)); err != nil {
				t.Fatal(err)
			}
			who, err := keys.Check(payload, c.signature, c.names, now)
			outcome(t, who, err, "jane@example.org", c.want)
		})
	}
}

func outcome(t *testing.T, who string, err error, signer, want string) {
	t.Helper()
	switch {
	case want == "" && (err != nil || !strings.Contains(who, signer)):
		t.Errorf("signed by %q, %v", who, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("signed by %q, %v; want %q", who, err, want)
	}
}

func TestBrokenAllowedSigners(t *testing.T) {
	t.Parallel()
	k := newSSH(t)
	for name, content := range map[string]string{
		"no key":      "jane@example.org\n",
		"nonsense":    "jane@example.org ssh-ed25519 xyz\n",
		"an option":   k.line("jane@example.org verify-required"),
		"authority":   k.line("jane@example.org cert-authority"),
		"no time":     k.line(`jane@example.org valid-before="tomorrow"`),
		"broken ring": "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxyz\n",
		"binary ring": "\x99\x00\x01",
	} {
		var keys verify.Keys
		if err := keys.Add([]byte(content)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

type pgpKey struct{ entity *openpgp.Entity }

// newPGP makes a key at a time; it expires after that long unless it is 0.
func newPGP(t *testing.T, at time.Time, life time.Duration) pgpKey {
	t.Helper()
	e, err := openpgp.NewEntity("Jane", "", "jane@example.org", &packet.Config{
		Time: func() time.Time { return at }, Algorithm: packet.PubKeyAlgoEdDSA, KeyLifetimeSecs: uint32(life.Seconds()), DefaultHash: crypto.SHA512,
	})
	if err != nil {
		t.Fatal(err)
	}
	return pgpKey{e}
}

func (k pgpKey) ring(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.entity.Serialize(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String() + "\n"
}

func (k pgpKey) sign(t *testing.T, content []byte, at time.Time) string {
	t.Helper()
	var b bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&b, k.entity, bytes.NewReader(content), &packet.Config{Time: func() time.Time { return at }}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPGP(t *testing.T) {
	t.Parallel()
	made := now.AddDate(0, -2, 0)
	k, other, old := newPGP(t, made, 0), newPGP(t, made, 0), newPGP(t, made, 30*24*time.Hour)
	for name, c := range map[string]struct {
		ring, signature string
		names           []string
		want            string
	}{
		"good":              {k.ring(t), k.sign(t, payload, now), nil, ""},
		"second in a file":  {other.ring(t) + k.ring(t), k.sign(t, payload, now), []string{"jane@example.org"}, ""},
		"another name":      {k.ring(t), k.sign(t, payload, now), []string{"joe@example.org"}, "who is not among"},
		"stranger":          {other.ring(t), k.sign(t, payload, now), nil, "not signed by a known PGP key"},
		"of another commit": {k.ring(t), k.sign(t, []byte("x"), now), nil, "PGP key"},
		"expired key":       {old.ring(t), old.sign(t, payload, made.AddDate(0, 0, 1)), nil, "expired"},
		"nonsense":          {k.ring(t), "-----BEGIN PGP SIGNATURE-----\n\nxyz\n", nil, "PGP"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var keys verify.Keys
			if err := keys.Add([]byte(c.ring)); err != nil {
				t.Fatal(err)
			}
			who, err := keys.Check(payload, c.signature, c.names, now)
			outcome(t, who, err, "jane@example.org, PGP key", c.want)
		})
	}
}
