package rendered

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
)

// version is the first byte of every file.
const version = 1

// seal encrypts files, each bound to its name.
type seal struct{ aead cipher.AEAD }

func newSeal(key []byte) (*seal, error) {
	if len(key) == 0 {
		return nil, errors.New("there is no key")
	}
	derived, err := hkdf.Key(sha256.New, key, nil, "headway rendered commits", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &seal{aead}, err
}

func (s *seal) close(name string, content []byte) []byte {
	return s.aead.Seal([]byte{version}, nil, content, []byte(name))
}

func (s *seal) open(name string, content []byte) ([]byte, error) {
	if len(content) == 0 || content[0] != version {
		return nil, errors.New("the file is of another version, or empty")
	}
	out, err := s.aead.Open(nil, nil, content[1:], []byte(name))
	if err != nil {
		return nil, errors.New("the file was changed, or sealed with another cluster's key")
	}
	return out, nil
}
