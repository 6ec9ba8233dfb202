package verify

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Keys are public keys with the names of their owners.
type Keys struct {
	// Namespace is what SSH signatures must have been made for; empty: git.
	Namespace string

	pgp openpgp.EntityList
	ssh []allowed
}

// ErrUnsigned says that there is no signature at all.
var ErrUnsigned = errors.New("is not signed")

const pgpBlock = "-----BEGIN PGP PUBLIC KEY BLOCK-----"

// Add takes in a PGP keyring, armored or not, or a list of allowed signers.
func (k *Keys) Add(content []byte) error {
	if _, rest, ok := bytes.Cut(content, []byte(pgpBlock)); ok {
		for _, block := range bytes.Split(rest, []byte(pgpBlock)) {
			ring, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(append([]byte(pgpBlock), block...)))
			if err != nil {
				return fmt.Errorf("read PGP keyring: %w", err)
			}
			k.pgp = append(k.pgp, ring...)
		}
		return nil
	}
	if len(content) > 0 && content[0]&0x80 != 0 { // the first byte of a binary packet
		ring, err := openpgp.ReadKeyRing(bytes.NewReader(content))
		if err != nil {
			return fmt.Errorf("read PGP keyring: %w", err)
		}
		k.pgp = append(k.pgp, ring...)
		return nil
	}
	signers, err := parseAllowed(string(content), k.namespace())
	k.ssh = append(k.ssh, signers...)
	return err
}

// Check tells who has signed a payload, of those with one of the names; no
// names: of all. The error says why nobody has who may.
func (k *Keys) Check(payload []byte, signature string, names []string, now time.Time) (signer string, err error) {
	switch {
	case signature == "":
		return "", ErrUnsigned
	case strings.HasPrefix(signature, "-----BEGIN SSH SIGNATURE-----"):
		return checkSSH(k.ssh, k.namespace(), payload, signature, names, now)
	case strings.HasPrefix(signature, "-----BEGIN PGP SIGNATURE-----"):
		return k.checkPGP(payload, signature, names, now)
	}
	return "", errors.New("has a signature that is neither PGP nor SSH")
}

func (k *Keys) namespace() string { return cmp.Or(k.Namespace, gitNamespace) }

func (k *Keys) checkPGP(payload []byte, signature string, names []string, now time.Time) (string, error) {
	block, err := armor.Decode(strings.NewReader(signature))
	if err != nil {
		return "", fmt.Errorf("has a broken PGP signature: %w", err)
	}
	_, who, err := openpgp.VerifyDetachedSignature(k.pgp, bytes.NewReader(payload), block.Body, &packet.Config{Time: func() time.Time { return now }})
	if who == nil {
		if err == nil {
			err = errors.New("nobody is known to have made it")
		}
		return "", fmt.Errorf("is not signed by a known PGP key: %w", err)
	}
	fingerprint := fmt.Sprintf("%X", who.PrimaryKey.Fingerprint)
	shown := "PGP key " + fingerprint
	known := []string{fingerprint}
	for _, id := range who.Identities {
		if id.UserId != nil && id.UserId.Email != "" {
			known = append(known, id.UserId.Email)
		}
	}
	slices.Sort(known[1:])
	if len(known) > 1 {
		shown = known[1] + ", " + shown
	}
	if err != nil {
		return "", fmt.Errorf("is signed by %s, but: %w", shown, err)
	}
	if !anyOf(names, known) {
		return "", fmt.Errorf("is signed by %s, who is not among %s", shown, strings.Join(names, ", "))
	}
	return shown, nil
}

// anyOf tells whether one of the known names is wanted.
func anyOf(wanted, known []string) bool {
	if len(wanted) == 0 {
		return true
	}
	return slices.ContainsFunc(wanted, func(w string) bool {
		return slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(strings.ReplaceAll(w, " ", ""), k) })
	})
}
