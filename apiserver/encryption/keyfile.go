package encryption

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	configv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/internal/pki"
)

// keySize is a secretbox key's.
const keySize = 32

// Keyfile is the configuration that a server makes for itself: Secrets are
// sealed by secretbox under its first key, and what is plain can still be read.
//
//	one key ──Begin──▶ new key, old key ──(rewrite everything)──▶ Finish ──▶ one key
//
// It is replaced whole or not at all, so a crash leaves one of these states,
// and in each of them everything that is stored can be opened.
type Keyfile struct{ Path string }

// Load reads the file, and makes one with a key of its own when there is none.
func (f Keyfile) Load(now time.Time) ([]byte, error) {
	text, err := os.ReadFile(f.Path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	key, err := newKey(now)
	if err != nil {
		return nil, err
	}
	return f.write([]configv1.Key{key})
}

// Begin puts a new key before the others and gives the new content. A rotation
// that has not been finished is gone on with: no further key is made.
func (f Keyfile) Begin(now time.Time) ([]byte, error) {
	keys, text, err := f.keys()
	if err != nil || len(keys) > 1 {
		return text, err
	}
	key, err := newKey(now)
	if err != nil {
		return nil, err
	}
	return f.write(append([]configv1.Key{key}, keys...))
}

// Finish drops all keys but the first and gives the new content. Nothing that
// is stored may be sealed by another one.
func (f Keyfile) Finish() ([]byte, error) {
	keys, text, err := f.keys()
	if err != nil || len(keys) == 1 {
		return text, err
	}
	return f.write(keys[:1])
}

// Rotating tells whether a rotation has begun and is not finished.
func (f Keyfile) Rotating() (bool, error) {
	keys, _, err := f.keys()
	return len(keys) > 1, err
}

func (f Keyfile) keys() ([]configv1.Key, []byte, error) {
	text, err := os.ReadFile(f.Path)
	if err != nil {
		return nil, nil, err
	}
	var config configv1.EncryptionConfiguration
	if err := yaml.Unmarshal(text, &config); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	if len(config.Resources) != 1 || len(config.Resources[0].Providers) == 0 || config.Resources[0].Providers[0].Secretbox == nil {
		return nil, nil, fmt.Errorf("%s is not as the server wrote it: rotate its keys by hand", f.Path)
	}
	return config.Resources[0].Providers[0].Secretbox.Keys, text, nil
}

func (f Keyfile) write(keys []configv1.Key) ([]byte, error) {
	config := configv1.EncryptionConfiguration{Resources: []configv1.ResourceConfiguration{{
		Resources: []string{"secrets"},
		Providers: []configv1.ProviderConfiguration{{Secretbox: &configv1.SecretboxConfiguration{Keys: keys}}, {Identity: &configv1.IdentityConfiguration{}}},
	}}}
	config.SetGroupVersionKind(configv1.SchemeGroupVersion.WithKind("EncryptionConfiguration"))
	text, err := yaml.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("encode the encryption configuration: %w", err)
	}
	if err := pki.WriteFile(f.Path, text, 0o600); err != nil {
		return nil, fmt.Errorf("write the encryption configuration: %w", err)
	}
	return text, nil
}

// newKey makes a key whose name tells when, and is nobody else's: a server that
// lacks a key knows it by the name.
func newKey(now time.Time) (configv1.Key, error) {
	random := make([]byte, keySize+4)
	if _, err := rand.Read(random); err != nil {
		return configv1.Key{}, fmt.Errorf("make a key: %w", err)
	}
	name := fmt.Sprintf("key-%s-%x", now.UTC().Format("20060102T150405Z"), random[keySize:])
	return configv1.Key{Name: name, Secret: base64.StdEncoding.EncodeToString(random[:keySize])}, nil
}
