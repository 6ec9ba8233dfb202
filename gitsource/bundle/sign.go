package bundle

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/headway-sh/headway/gitsource/verify"
)

// Namespace is what the signatures of bundles are made for: one that was made
// for something else counts for nothing.
const Namespace = "headway-bundle"

// NewKey makes an Ed25519 key: the private half in OpenSSH's format, and the
// line of the public half.
func NewKey(comment string) (private, public []byte, err error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	shown, err := ssh.NewPublicKey(pub)
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(shown))) + " " + comment + "\n"
	return pem.EncodeToMemory(block), []byte(line), nil
}

// ParseKey reads a private key that signs: Ed25519, ECDSA or RSA.
func ParseKey(text []byte) (ssh.Signer, error) {
	key, err := ssh.ParsePrivateKey(text)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, errors.New("the key has a passphrase: sign with one that has none (headway bundle keygen)")
	}
	return key, err
}

// ParseTrusted reads whose signatures count: lines of public keys as in files
// *.pub and authorized_keys, or of allowed signers as ssh-keygen(1) has them.
func ParseTrusted(text []byte) (*verify.Keys, error) {
	var lines []string
	count := 0
	for line := range strings.SplitSeq(string(text), "\n") {
		// A bare key has no name before it.
		if key, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err == nil && strings.HasPrefix(strings.TrimSpace(line), key.Type()+" ") {
			name := strings.Join(strings.FieldsFunc(comment, func(r rune) bool { return r == ' ' || r == ',' || r == '"' || r == '#' }), "-")
			if name == "" {
				name = "unnamed"
			}
			line = name + " " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
		}
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			count++
		}
		lines = append(lines, line)
	}
	if count == 0 {
		return nil, errors.New("there is no key in it")
	}
	keys := &verify.Keys{Namespace: Namespace}
	return keys, keys.Add([]byte(strings.Join(lines, "\n")))
}

// CheckSignature says who of the trusted has signed the bundle.
func (b *Bundle) CheckSignature(trusted *verify.Keys, now time.Time) (signer string, err error) {
	if signer, err = trusted.Check(b.text, b.signature, nil, now); err != nil {
		return "", fmt.Errorf("the bundle %w", err)
	}
	return signer, nil
}
