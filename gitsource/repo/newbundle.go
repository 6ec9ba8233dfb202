package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// NewBundle is a bundle to be written.
type NewBundle struct {
	// Refs are the full names of branches and tags, and what they name.
	Refs map[string]ID
	// Since is a commit that whoever reads the bundle has, with all before it;
	// zero: the bundle has all of history.
	Since ID
}

// WriteBundle writes a bundle of version 2, as gitformat-bundle has it. The
// repository can be read meanwhile.
func (r *Repository) WriteBundle(ctx context.Context, w io.Writer, b NewBundle) error {
	var header strings.Builder
	header.WriteString(bundleV2 + "\n")
	var known []plumbing.Hash
	if !b.Since.IsZero() {
		fmt.Fprintf(&header, "-%s\n", b.Since)
		known = append(known, plumbing.Hash(b.Since))
	}
	var tips []plumbing.Hash
	for _, name := range slices.Sorted(maps.Keys(b.Refs)) {
		fmt.Fprintf(&header, "%s %s\n", b.Refs[name], name)
		tips = append(tips, plumbing.Hash(b.Refs[name]))
	}
	if len(tips) == 0 {
		return errors.New("write bundle: it needs a branch or a tag")
	}
	header.WriteString("\n")
	// An own handle, so that nobody waits for the encoder.
	own, err := Open(r.commonDir)
	if err != nil {
		return err
	}
	defer own.Close()
	objects, err := own.between(tips, known)
	if err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	w = &stopping{w, ctx}
	if _, err := io.WriteString(w, header.String()); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	if _, err := packfile.NewEncoder(w, own.storage, false).Encode(objects, deltaWindow); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return nil
}

// stopping is a writer that ends with a context.
type stopping struct {
	io.Writer
	ctx context.Context // of the one thing that is written
}

func (s *stopping) Write(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.Writer.Write(p)
}
