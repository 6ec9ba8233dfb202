package repo

import (
	"bufio"
	"errors"
	"io"
)

// ReadVersion2 reads what a remote says in a conversation, and gives how many
// references it names.
func ReadVersion2(said io.Reader, most int) int {
	from := bufio.NewReader(said)
	if two, err := speaks2(from); err != nil || !two {
		return 0
	}
	if _, err := readServer2(from); err != nil {
		return 0
	}
	adv, err := readRefs(from, most)
	if err != nil {
		return 0
	}
	if err := toPack(from); err != nil {
		return len(adv.References)
	}
	return len(adv.References)
}

// ReadOnly tells whether an error is taken for a refusal of all pushes.
func ReadOnly(err error) bool { return errors.Is(readOnly(err), ErrReadOnly) }
