package repo

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/transport"
)

// ErrReadOnly says that a remote takes no push from whoever asks.
var ErrReadOnly = errors.New("the remote takes no pushes with these credentials")

// readOnlyWords are what forges say over ssh, where there is no status.
var readOnlyWords = []string{"read only", "read-only", "not allowed to push", "permission", "access denied", "write access"}

// readOnly makes a refusal of a push known as one.
func readOnly(err error) error {
	refused := errors.Is(err, transport.ErrAuthorizationFailed) || errors.Is(err, transport.ErrAuthenticationRequired)
	if _, said, ok := strings.Cut(errorText(err), "the remote says "); ok && !refused {
		said = strings.ToLower(said)
		for _, words := range readOnlyWords {
			refused = refused || strings.Contains(said, words)
		}
	}
	if !refused {
		return err
	}
	return fmt.Errorf("%w: %w", ErrReadOnly, err)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
