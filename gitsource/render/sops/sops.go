package sops

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"regexp"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// ErrNoKey says that none of the identities opens a file.
var ErrNoKey = errors.New("none of the age keys opens it")

// Encrypted tells whether a file is one of SOPS. It is quick for others.
func Encrypted(content []byte) bool {
	return bytes.Contains(content, []byte("ENC[AES256_GCM,")) && bytes.Contains(content, []byte("sops")) &&
		(topLevel.Match(content) || bytes.Contains(content, []byte("\nsops_mac=")))
}

var topLevel = regexp.MustCompile(`(?m)^(?:sops:|"sops":|[ \t{]*"sops"[ \t]*:)`)

// Identities reads age keys: lines that begin with AGE-SECRET-KEY-, and
// comments.
func Identities(text string) ([]age.Identity, error) {
	ids, err := age.ParseIdentities(strings.NewReader(text))
	if err != nil {
		return nil, errors.New("not a file of age keys: there must be a line that begins with AGE-SECRET-KEY-1") // the library's error has the line in it
	}
	return ids, nil
}

// metadata is what SOPS keeps beside the values.
type metadata struct {
	Age []struct {
		Recipient string `yaml:"recipient"`
		Enc       string `yaml:"enc"`
	} `yaml:"age"`
	KeyGroups               []any  `yaml:"key_groups"`
	LastModified            string `yaml:"lastmodified"`
	MAC                     string `yaml:"mac"`
	UnencryptedSuffix       string `yaml:"unencrypted_suffix"`
	EncryptedSuffix         string `yaml:"encrypted_suffix"`
	UnencryptedRegex        string `yaml:"unencrypted_regex"`
	EncryptedRegex          string `yaml:"encrypted_regex"`
	UnencryptedCommentRegex string `yaml:"unencrypted_comment_regex"`
	EncryptedCommentRegex   string `yaml:"encrypted_comment_regex"`
	MACOnlyEncrypted        bool   `yaml:"mac_only_encrypted"`
}

// opener decrypts the values of one file in their order.
type opener struct {
	meta            metadata
	key             []byte
	mac             hash.Hash
	without, within *regexp.Regexp
	secrets         []string
}

// onlyEncrypted begins the code of files whose code is over encrypted values
// only: the SHA-256 of "sops".
var onlyEncrypted = []byte{
	0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b,
	0x0b, 0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
}

func newOpener(m metadata, ids []age.Identity) (*opener, error) {
	switch {
	case m.MAC == "":
		return nil, errors.New("it has no authentication code (sops.mac)")
	case len(m.KeyGroups) > 0:
		return nil, errors.New("its data key is spread over key groups, which is not supported")
	case len(m.Age) == 0:
		return nil, errors.New("it is not encrypted for any age key")
	case m.UnencryptedCommentRegex != "" || m.EncryptedCommentRegex != "":
		return nil, errors.New("its rules go by comments, which is not supported")
	}
	o := &opener{meta: m, mac: sha512.New()}
	var err error
	if m.UnencryptedRegex != "" {
		if o.without, err = regexp.Compile(m.UnencryptedRegex); err != nil {
			return nil, fmt.Errorf("sops.unencrypted_regex: %w", err)
		}
	}
	if m.EncryptedRegex != "" {
		if o.within, err = regexp.Compile(m.EncryptedRegex); err != nil {
			return nil, fmt.Errorf("sops.encrypted_regex: %w", err)
		}
	}
	if m.MACOnlyEncrypted {
		o.mac.Write(onlyEncrypted)
	}
	if o.key, err = dataKey(m, ids); err != nil {
		return nil, err
	}
	return o, nil
}

func dataKey(m metadata, ids []age.Identity) ([]byte, error) {
	var recipients []string
	for _, entry := range m.Age {
		recipients = append(recipients, entry.Recipient)
		reader, err := age.Decrypt(armor.NewReader(strings.NewReader(entry.Enc)), ids...)
		if err != nil {
			continue
		}
		key, err := io.ReadAll(io.LimitReader(reader, 64))
		if err == nil && len(key) == 32 {
			return key, nil
		}
	}
	return nil, fmt.Errorf("%w: it is encrypted for %s", ErrNoKey, strings.Join(recipients, ", "))
}

// encrypted tells by the file's rules whether a value is encrypted.
func (o *opener) encrypted(path []string) bool {
	some := func(f func(string) bool) bool {
		for _, p := range path {
			if f(p) {
				return true
			}
		}
		return false
	}
	encrypted := true
	if s := o.meta.UnencryptedSuffix; s != "" && some(func(p string) bool { return strings.HasSuffix(p, s) }) {
		encrypted = false
	}
	if s := o.meta.EncryptedSuffix; s != "" {
		encrypted = some(func(p string) bool { return strings.HasSuffix(p, s) })
	}
	if o.without != nil && some(o.without.MatchString) {
		encrypted = false
	}
	if o.within != nil {
		encrypted = some(o.within.MatchString)
	}
	return encrypted
}

// value decrypts one value and gives its plain text and its type.
func (o *opener) value(path []string, text string) (plain, kind string, err error) {
	if text == "" {
		return "", "str", nil
	}
	plain, kind, err = open(o.key, text, strings.Join(path, ":")+":")
	if err != nil {
		return "", "", err
	}
	if len(plain) >= minSecret && kind != "bool" {
		o.secrets = append(o.secrets, plain)
	}
	return plain, kind, nil
}

// minSecret is how long a value is at least that must not be seen in messages;
// shorter ones are found in every text.
const minSecret = 4

// count takes a value into the authentication code.
func (o *opener) count(encrypted bool, plain string) {
	if encrypted || !o.meta.MACOnlyEncrypted {
		o.mac.Write([]byte(plain))
	}
}

// check compares the authentication code, once all values are counted.
func (o *opener) check() error {
	want, _, err := open(o.key, o.meta.MAC, o.meta.LastModified)
	if err != nil {
		return errors.New("its authentication code (sops.mac) cannot be read: the file was changed after it was encrypted")
	}
	if got := fmt.Sprintf("%X", o.mac.Sum(nil)); subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
		return errors.New("its values do not match its authentication code (sops.mac): the file was changed after it was encrypted")
	}
	return nil
}

var sealed = regexp.MustCompile(`^ENC\[AES256_GCM,data:([^,\]]*),iv:([^,\]]+),tag:([^,\]]+),type:([a-z]+)\]$`)

// open decrypts one value. Its errors say nothing of the value.
func open(key []byte, text, bound string) (plain, kind string, err error) {
	m := sealed.FindStringSubmatch(text)
	if m == nil {
		return "", "", errors.New("should be encrypted and is not")
	}
	var parts [3][]byte
	for i := range parts {
		if parts[i], err = base64.StdEncoding.DecodeString(m[i+1]); err != nil {
			return "", "", errors.New("is not a whole encrypted value")
		}
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", "", err
	}
	gcm, err := cipher.NewGCMWithNonceSize(block, len(parts[1]))
	if err != nil {
		return "", "", errors.New("is not a whole encrypted value")
	}
	out, err := gcm.Open(nil, parts[1], append(parts[0], parts[2]...), []byte(bound))
	if err != nil {
		return "", "", errors.New("cannot be decrypted: it was changed, or moved to another place, after it was encrypted")
	}
	return string(out), m[4], nil
}
