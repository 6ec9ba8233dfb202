package verify

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// gitNamespace is what git's signatures are made for.
const gitNamespace = "git"

// minRSA is the length of the shortest RSA key that is believed, in bits.
const minRSA = 2048

// allowed is one line of a list of allowed signers (ssh-keygen(1)).
type allowed struct {
	names         []string
	key           ssh.PublicKey
	after, before time.Time // zero: always
}

func parseAllowed(text, namespace string) ([]allowed, error) {
	var out []allowed
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		one, ok, err := parseLine(line, namespace)
		if err != nil {
			return nil, fmt.Errorf("allowed signers, line %d: %w", n, err)
		}
		if ok {
			out = append(out, one)
		}
	}
	return out, nil
}

// parseLine reads a line; ok is false for keys that are not for the namespace.
func parseLine(line, namespace string) (one allowed, ok bool, err error) {
	at := strings.IndexAny(line, " \t")
	if at < 0 {
		return one, false, errors.New("has no key")
	}
	one.names = strings.Split(strings.Trim(line[:at], `"`), ",")
	key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(strings.TrimSpace(line[at:])))
	if err != nil {
		return one, false, fmt.Errorf("has no key: %w", err)
	}
	one.key = key
	ok = true
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		value = strings.Trim(value, `"`)
		switch strings.ToLower(name) {
		case "namespaces":
			ok = ok && slices.Contains(strings.Split(value, ","), namespace)
		case "valid-after":
			one.after, err = parseTime(value)
		case "valid-before":
			one.before, err = parseTime(value)
		default:
			err = fmt.Errorf("has the option %q, which is not understood", name)
		}
		if err != nil {
			return one, false, err
		}
	}
	return one, ok, nil
}

func parseTime(s string) (time.Time, error) {
	digits := strings.TrimSuffix(s, "Z")
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(digits) == len(layout) {
			return time.Parse(layout, digits)
		}
	}
	return time.Time{}, fmt.Errorf("has %q in place of a time", s)
}

// envelope is a signature as PROTOCOL.sshsig has it, behind its magic.
type envelope struct {
	Version   uint32
	PublicKey string
	Namespace string
	Reserved  string
	Hash      string
	Signature string
}

// signedData is what the key signs, behind the magic.
type signedData struct {
	Namespace string
	Reserved  string
	Hash      string
	Digest    string
}

const magic = "SSHSIG"

func checkSSH(signers []allowed, namespace string, payload []byte, signature string, names []string, now time.Time) (string, error) {
	key, err := openEnvelope(namespace, payload, signature)
	if err != nil {
		return "", fmt.Errorf("has a broken SSH signature: %w", err)
	}
	shown := "SSH key " + ssh.FingerprintSHA256(key)
	reason := fmt.Errorf("is signed by %s, which nobody is known to have", shown)
	for _, s := range signers {
		if !bytes.Equal(s.key.Marshal(), key.Marshal()) {
			continue
		}
		who := strings.Join(s.names, ",") + ", " + shown
		switch {
		case !s.after.IsZero() && now.Before(s.after):
			reason = fmt.Errorf("is signed by %s, but: the key counts from %s on", who, s.after.Format(time.DateOnly))
		case !s.before.IsZero() && !now.Before(s.before):
			reason = fmt.Errorf("is signed by %s, but: the key has expired on %s", who, s.before.Format(time.DateOnly))
		case !anyOf(names, s.names):
			reason = fmt.Errorf("is signed by %s, who is not among %s", who, strings.Join(names, ", "))
		default:
			return who, nil
		}
	}
	return "", reason
}

// openEnvelope gives the key that has made a good signature of the payload.
func openEnvelope(namespace string, payload []byte, signature string) (ssh.PublicKey, error) {
	block, _ := pem.Decode([]byte(signature))
	if block == nil || block.Type != "SSH SIGNATURE" || !bytes.HasPrefix(block.Bytes, []byte(magic)) {
		return nil, errors.New("it is damaged")
	}
	var e envelope
	if err := ssh.Unmarshal(block.Bytes[len(magic):], &e); err != nil {
		return nil, err
	}
	if e.Version != 1 || e.Namespace != namespace {
		return nil, fmt.Errorf("it is of version %d and made for %q, not for %s", e.Version, e.Namespace, namespace)
	}
	var digest []byte
	switch e.Hash {
	case "sha256":
		sum := sha256.Sum256(payload)
		digest = sum[:]
	case "sha512":
		sum := sha512.Sum512(payload)
		digest = sum[:]
	default:
		return nil, fmt.Errorf("the hash %q is not believed", e.Hash)
	}
	key, err := ssh.ParsePublicKey([]byte(e.PublicKey))
	if err != nil {
		return nil, err
	}
	var made ssh.Signature
	if err := ssh.Unmarshal([]byte(e.Signature), &made); err != nil {
		return nil, err
	}
	if err := strong(key, made.Format); err != nil {
		return nil, err
	}
	signed := append([]byte(magic), ssh.Marshal(signedData{e.Namespace, e.Reserved, e.Hash, string(digest)})...)
	return key, key.Verify(signed, &made)
}

// SignSSH signs a payload for a namespace, as "ssh-keygen -Y sign" does, and
// gives the armored signature.
func SignSSH(key ssh.Signer, namespace string, payload []byte) (string, error) {
	digest := sha512.Sum512(payload)
	signed := append([]byte(magic), ssh.Marshal(signedData{namespace, "", "sha512", string(digest[:])})...)
	var made *ssh.Signature
	var err error
	if rsaKey, ok := key.(ssh.AlgorithmSigner); ok && key.PublicKey().Type() == ssh.KeyAlgoRSA {
		made, err = rsaKey.SignWithAlgorithm(rand.Reader, signed, ssh.KeyAlgoRSASHA512) // the default is too weak
	} else {
		made, err = key.Sign(rand.Reader, signed)
	}
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	e := envelope{1, string(key.PublicKey().Marshal()), namespace, "", "sha512", string(ssh.Marshal(made))}
	return string(pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: append([]byte(magic), ssh.Marshal(e)...)})), nil
}

// strong refuses what is too weak to be believed.
func strong(key ssh.PublicKey, format string) error {
	switch key.Type() {
	case ssh.KeyAlgoRSA:
		if format != ssh.KeyAlgoRSASHA256 && format != ssh.KeyAlgoRSASHA512 {
			return fmt.Errorf("the algorithm %q is too weak", format)
		}
		if held, ok := key.(ssh.CryptoPublicKey); ok {
			if public, ok := held.CryptoPublicKey().(*rsa.PublicKey); ok && public.N.BitLen() < minRSA {
				return fmt.Errorf("an RSA key of %d bits is too weak", public.N.BitLen())
			}
		}
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
	default:
		return fmt.Errorf("keys of type %q are not believed", key.Type())
	}
	return nil
}
