package hosted

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/headway-sh/headway/gitsource/repo"
)

// talk is one exchange about a repository.
type talk struct {
	repo *repo.Repository
	path string
}

// capabilities are what upload-pack offers here.
const capabilities = "multi_ack_detailed side-band-64k ofs-delta no-progress object-format=sha1 agent=headway"

// advertise tells the references.
func (t *talk) advertise(w io.Writer) {
	refs, head, err := t.repo.Advertise()
	out := bufio.NewWriter(w)
	defer out.Flush() // an error means that the client is gone
	write(out, "# service="+uploadPack+"\n")
	flush(out)
	if err != nil {
		write(out, "ERR the references cannot be read\n")
		return
	}
	offer, lines := capabilities, []string{}
	if head != "" {
		offer += " symref=HEAD:" + head
	}
	for _, ref := range refs {
		if ref.Name == head {
			lines = append([]string{ref.ID.String() + " HEAD"}, lines...)
		}
		lines = append(lines, ref.ID.String()+" "+ref.Name)
		if !ref.Peeled.IsZero() {
			lines = append(lines, ref.Peeled.String()+" "+ref.Name+"^{}")
		}
	}
	if len(lines) == 0 {
		lines = []string{repo.ID{}.String() + " capabilities^{}"}
	}
	for i, line := range lines {
		if i == 0 {
			line += "\x00" + offer
		}
		write(out, line+"\n")
	}
	flush(out)
}

// check refuses what nobody was offered.
func (t *talk) check(q *request) error {
	refs, _, err := t.repo.Advertise()
	if err != nil {
		return errors.New("the references cannot be read")
	}
	offered := map[repo.ID]bool{}
	for _, ref := range refs {
		offered[ref.ID] = true
	}
	for _, id := range q.wants {
		if !offered[id] {
			return fmt.Errorf("no reference names %s; it may have moved: fetch again", id)
		}
	}
	return nil
}

// answer says what both have, and sends the rest when the client has said that
// this was all. Every request stands for itself: nothing is remembered.
func (t *talk) answer(ctx context.Context, w io.Writer, q *request) error {
	out := bufio.NewWriterSize(w, maxPacket)
	detailed := q.can("multi_ack_detailed")
	var common []repo.ID
	for _, l := range q.haves {
		switch {
		case l.done && len(common) > 0 && detailed:
			write(out, "ACK "+common[len(common)-1].String()+"\n")
		case l.done && len(common) > 0:
		case l.done:
			write(out, "NAK\n")
		case l.have.IsZero():
			if len(common) > 0 && detailed {
				// What else both have would make the pack smaller, not right.
				write(out, "ACK "+common[len(common)-1].String()+" ready\n")
			}
			if len(common) == 0 || detailed {
				write(out, "NAK\n")
			}
		case t.repo.Has(l.have):
			common = append(common, l.have)
			if detailed {
				write(out, "ACK "+l.have.String()+" common\n")
			} else if len(common) == 1 {
				write(out, "ACK "+l.have.String()+"\n")
			}
		}
	}
	if n := len(q.haves); n == 0 || !q.haves[n-1].done {
		return out.Flush()
	}
	if !q.can("side-band-64k") {
		return errors.Join(t.repo.WritePack(ctx, out, q.wants, common, q.can("ofs-delta")), out.Flush())
	}
	if err := t.repo.WritePack(ctx, &band{out, 1}, q.wants, common, q.can("ofs-delta")); err != nil {
		_, _ = (&band{out, 3}).Write([]byte("the pack could not be made\n")) // the error is told anyway
		return errors.Join(err, out.Flush())
	}
	flush(out)
	return out.Flush()
}

// band writes to one channel of a connection that has several.
type band struct {
	out     *bufio.Writer
	channel byte
}

func (b *band) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := min(len(p), maxPacket-5)
		if _, err := fmt.Fprintf(b.out, "%04x%c", n+5, b.channel); err != nil {
			return written, err
		}
		if _, err := b.out.Write(p[:n]); err != nil {
			return written, err
		}
		written, p = written+n, p[n:]
	}
	return written, nil
}

// write writes a packet line; an error of the writer comes back with its Flush.
func write(out *bufio.Writer, text string) {
	text = strings.ToValidUTF8(text, "?")
	_, _ = fmt.Fprintf(out, "%04x%s", len(text)+4, text)
}

func flush(out *bufio.Writer) { _, _ = out.WriteString("0000") }
