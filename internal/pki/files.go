package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// writeFile puts content under path so that after a power cut there is either
// the whole file or none.
func writeFile(path string, content []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when the rename worked
	err = errors.Join(f.Chmod(mode), write(f, content), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func write(f *os.File, content []byte) error {
	_, err := f.Write(content)
	return err
}

// LoadOrCreateKey reads a private key from path, and makes an ECDSA P-256 key
// when there is none.
func LoadOrCreateKey(path string) (crypto.Signer, error) {
	text, err := os.ReadFile(path)
	if err == nil {
		return ParseKey(text)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	text, err = encodeKey(key)
	if err != nil {
		return nil, err
	}
	return key, writeFile(path, text, 0o600)
}

// LoadOrCreateSecret reads n random bytes from path, and makes them when there
// are none.
func LoadOrCreateSecret(path string, n int) ([]byte, error) {
	secret, err := os.ReadFile(path)
	if err == nil && len(secret) == n {
		return secret, nil
	}
	if err == nil {
		return nil, errors.New(path + " is damaged: its length is wrong; restore it from a backup")
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	secret = make([]byte, n)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	return secret, writeFile(path, secret, 0o600)
}

// WriteFile writes content under path with the mode, whole or not at all, and
// makes the directory (0700) when it is missing.
func WriteFile(path string, content []byte, mode fs.FileMode) error {
	return writeFile(path, content, mode)
}
