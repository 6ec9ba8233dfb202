package join

import (
	"errors"
	"regexp"
	"strings"
)

var tokenPattern = regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}\.[0-9a-f]{64}$`)

// Token is what a person hands to an agent.
type Token struct {
	// Bearer is the part that the server checks.
	Bearer string
	// Hash pins the API's authority: the SHA-256 of its public key information,
	// in hexadecimal.
	Hash string
}

// ParseToken reads ID.SECRET.HASH.
func ParseToken(text string) (Token, error) {
	text = strings.TrimSpace(text)
	if !tokenPattern.MatchString(text) {
		return Token{}, errors.New("the join token has not the form ID.SECRET.HASH; it is in the file \"token\" of the server's data directory, or made by \"headway token create\"")
	}
	cut := strings.LastIndexByte(text, '.')
	return Token{Bearer: text[:cut], Hash: text[cut+1:]}, nil
}
