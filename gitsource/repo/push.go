package repo

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/revlist"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// Push brings one reference of the mirror to the remote, without force. When
// the remote has moved, the mirror takes over what it has, and ErrRefMoved is
// returned: the caller builds anew on top. ErrReadOnly says that the remote
// takes no pushes at all.
func (r *Repository) Push(ctx context.Context, to Remote, name string) error {
	tip, err := r.Tip(name)
	if err != nil {
		return err
	}
	return r.PushCommit(ctx, to, name, tip)
}

// PushCommit makes a commit of the mirror the tip of a remote's reference,
// without force, like Push; the mirror's own reference follows with the next
// fetch.
func (r *Repository) PushCommit(ctx context.Context, to Remote, name string, tip ID) error {
	limits := to.Limits.orDefault()
	ctx, cancel := context.WithTimeout(ctx, limits.Timeout)
	defer cancel()
	talk, host, err := to.converse(ctx, transport.ReceivePackServiceName, limits)
	if err != nil {
		return fmt.Errorf("push to %s: %w", host, err)
	}
	defer talk.close()
	adv, err := talk.refs(ctx, nil)
	switch {
	case errors.Is(err, transport.ErrEmptyRemoteRepository) && adv == nil:
		adv = packp.NewAdvRefs()
	case errors.Is(err, transport.ErrEmptyRemoteRepository):
	case err != nil:
		return fmt.Errorf("push to %s: %w", host, readOnly(err))
	}
	theirs := ID(adv.References[name])
	if theirs == tip {
		return nil
	}
	if !theirs.IsZero() {
		ok, err := r.IsAncestor(ctx, theirs, tip)
		if err != nil || !ok {
			if _, fetchErr := r.Fetch(ctx, to); fetchErr != nil {
				return fetchErr
			}
			return fmt.Errorf("push %s: %w", name, ErrRefMoved)
		}
	}
	if err := r.send(ctx, talk, adv, name, theirs, tip); err != nil {
		return fmt.Errorf("push %s to %s: %w", name, host, readOnly(cause(ctx, err)))
	}
	return nil
}

// send moves one reference of the remote, with the objects that it lacks.
func (r *Repository) send(ctx context.Context, talk conversation, adv *packp.AdvRefs, name string, old, new ID) error {
	request := packp.NewReferenceUpdateRequestFromCapabilities(adv.Capabilities)
	request.Commands = []*packp.Command{{Name: plumbing.ReferenceName(name), Old: plumbing.Hash(old), New: plumbing.Hash(new)}}
	var known []plumbing.Hash
	if !old.IsZero() {
		known = append(known, plumbing.Hash(old))
	}
	reader, writer := io.Pipe()
	request.Packfile = reader
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		r.mu.Lock()
		defer r.mu.Unlock()
		objects, err := revlist.Objects(r.storage, []plumbing.Hash{plumbing.Hash(new)}, known)
		if err == nil {
			_, err = packfile.NewEncoder(writer, r.storage, false).Encode(objects, 10)
		}
		_ = writer.CloseWithError(err) // which the other side reads
	}()
	status, err := talk.push(ctx, request)
	_ = reader.Close() // ends the encoder when the remote did not read it all
	<-sent
	if err == nil && status != nil {
		err = status.Error()
	}
	return err
}
