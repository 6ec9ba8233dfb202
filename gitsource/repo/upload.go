package repo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// uploadTalk is a conversation with upload-pack over https.
type uploadTalk struct {
	client *http.Client
	auth   githttp.AuthMethod // nil: nobody in particular
	base   string             // where the repository is
	limits Limits
	server *server2 // nil: it speaks version 0
}

func (t *uploadTalk) do(ctx context.Context, method, url string, content []byte) (*http.Response, error) {
	var body io.Reader
	if content != nil {
		body = bytes.NewReader(content)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, errors.New("the URL is not one") // without showing it
	}
	req.Header.Set("User-Agent", capability.DefaultAgent())
	if content != nil {
		req.Header.Set("Accept", "application/x-git-upload-pack-result")
		req.Header.Set("Content-Type", "application/x-git-upload-pack-request")
	}
	if content == nil || t.server != nil {
		req.Header.Set(versionHeader, version2)
	}
	if t.auth != nil {
		t.auth.SetAuth(req)
	}
	res, err := t.client.Do(req)
	if err != nil {
		return nil, err
	}
	if err := githttp.NewErr(res); err != nil {
		return nil, errors.Join(err, res.Body.Close())
	}
	return res, nil
}

const infoRefs = "/info/refs"

// refs asks which version is spoken, and then for the references.
func (t *uploadTalk) refs(ctx context.Context, prefixes []string) (*packp.AdvRefs, error) {
	res, err := t.do(ctx, http.MethodGet, t.base+infoRefs+"?service=git-upload-pack", nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if base, ok := strings.CutSuffix(res.Request.URL.Path, infoRefs); ok { // it may have been redirected
		moved := *res.Request.URL
		moved.Path, moved.RawPath, moved.RawQuery = base, "", ""
		t.base = moved.String()
	}
	from := bufio.NewReader(res.Body)
	two, err := speaks2(from)
	if err != nil {
		return nil, err
	}
	if !two {
		return version0(from)
	}
	server, err := readServer2(from)
	if err != nil {
		return nil, err
	}
	t.server = server
	answer, err := t.do(ctx, http.MethodPost, t.base+"/git-upload-pack", server.lsRefs(prefixes))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return readRefs(&refBand{bufio.NewReader(answer.Body), t.limits.RefBytes, t.limits.RefBytes}, t.limits.Refs)
}

// version0 reads a list of references as the library does.
func version0(from io.Reader) (*packp.AdvRefs, error) {
	adv := packp.NewAdvRefs()
	err := adv.Decode(from)
	switch {
	case errors.Is(err, packp.ErrEmptyAdvRefs), err == nil && adv.IsEmpty():
		return adv, transport.ErrEmptyRemoteRepository
	case err != nil:
		return nil, err
	}
	transport.FilterUnsupportedCapabilities(adv.Capabilities)
	return adv, nil
}

// refBand is the part of a conversation that lists references.
type refBand struct {
	from        io.Reader
	limit, left int64
}

func (b *refBand) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("the remote's list of references is over %d bytes: %w", b.limit, ErrTooLarge)
	}
	return n, err
}

func (t *uploadTalk) fetch(ctx context.Context, request *packp.UploadPackRequest) (io.ReadCloser, error) {
	if t.server == nil {
		return t.fetch0(ctx, request)
	}
	res, err := t.do(ctx, http.MethodPost, t.base+"/git-upload-pack", t.server.fetch(request))
	if err != nil {
		return nil, err
	}
	if err := toPack(res.Body); err != nil {
		return nil, errors.Join(err, res.Body.Close())
	}
	return res.Body, nil
}

func (t *uploadTalk) fetch0(ctx context.Context, request *packp.UploadPackRequest) (io.ReadCloser, error) {
	var b bytes.Buffer
	err := errors.Join(request.Validate(), request.UploadRequest.Encode(&b), request.UploadHaves.Encode(&b, false))
	if err != nil {
		return nil, fmt.Errorf("ask for objects: %w", err)
	}
	writePacket(&b, "done\n")
	res, err := t.do(ctx, http.MethodPost, t.base+"/git-upload-pack", b.Bytes())
	if err != nil {
		return nil, err
	}
	response := packp.NewUploadPackResponse(request)
	if err := response.Decode(res.Body); err != nil {
		return nil, errors.Join(err, res.Body.Close())
	}
	return response, nil
}
