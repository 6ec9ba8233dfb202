package repo

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	"golang.org/x/net/proxy"
)

// sshTalk is a conversation over ssh: one connection, one command.
type sshTalk struct {
	client  *ssh.Client
	session *ssh.Session
	in      io.WriteCloser
	out     io.Reader
	said    *lastWords // on the command's standard error
	refBand *refBand
	stop    func() bool // lets go of the context
	line    *line
	most    int      // references
	server  *server2 // nil: it speaks version 0
}

// overSSH connects with the remote's own key to a host that is known. No agent,
// no configuration and no key of the machine takes part.
func (m *Remote) overSSH(ctx context.Context, ep *transport.Endpoint, service string, limits Limits) (conversation, error) {
	if len(m.Identity) == 0 || len(m.KnownHosts) == 0 {
		return nil, errors.New(`ssh needs a Secret with "identity" and "known_hosts"`)
	}
	signer, err := m.signer()
	if err != nil {
		return nil, err
	}
	port := ep.Port
	if port <= 0 {
		port = 22
	}
	address := net.JoinHostPort(ep.Host, strconv.Itoa(port))
	hosts, err := knownHosts(m.KnownHosts)
	if err != nil {
		return nil, err
	}
	config := &ssh.ClientConfig{
		User: cmp.Or(ep.User, "git"), Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: hosts.HostKeyCallback(), HostKeyAlgorithms: hosts.HostKeyAlgorithms(address), Timeout: dialTimeout,
	}
	if len(config.HostKeyAlgorithms) == 0 {
		return nil, fmt.Errorf("known_hosts has no key of %s; add what ssh-keyscan says once you have compared it", address)
	}
	conn, err := m.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	talk := &sshTalk{line: &line{Conn: conn, stall: limits.Stall, left: limits.PackBytes, limit: limits.PackBytes}, said: &lastWords{}, most: limits.Refs}
	talk.stop = context.AfterFunc(ctx, func() { _ = conn.Close() }) // whoever waits gets an error
	if err := talk.begin(address, config, service+" "+quoted(ep.Path)); err != nil {
		talk.close()
		return nil, talk.explain(err)
	}
	talk.refBand = &refBand{talk.out, limits.RefBytes, limits.RefBytes}
	return talk, nil
}

func (m *Remote) signer() (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey(m.Identity)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) && m.Password != "" {
		signer, err = ssh.ParsePrivateKeyWithPassphrase(m.Identity, []byte(m.Password))
	}
	if err != nil {
		return nil, fmt.Errorf("private key for ssh: %w", err)
	}
	return signer, nil
}

// knownHosts reads the hosts through a file, which is all the library takes.
func knownHosts(content []byte) (*knownhosts.HostKeyDB, error) {
	f, err := os.CreateTemp("", "known_hosts-")
	if err != nil {
		return nil, fmt.Errorf("known_hosts: %w", err)
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(content); err != nil {
		return nil, errors.Join(fmt.Errorf("known_hosts: %w", err), f.Close())
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("known_hosts: %w", err)
	}
	db, err := knownhosts.NewDB(f.Name())
	if err != nil {
		return nil, errors.New("known_hosts: " + strings.ReplaceAll(err.Error(), f.Name(), "line"))
	}
	return db, nil
}

func (m *Remote) dial(ctx context.Context, address string) (net.Conn, error) {
	direct := &net.Dialer{Timeout: dialTimeout}
	if m.Proxy == "" || m.direct(address) {
		return direct.DialContext(ctx, "tcp", address)
	}
	u, err := m.proxy()
	if err != nil || u.Scheme != "socks5" {
		return nil, errors.New("ssh goes through a socks5 proxy only")
	}
	through, err := proxy.FromURL(u, direct)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return through.(proxy.ContextDialer).DialContext(ctx, "tcp", address)
}

func (t *sshTalk) begin(address string, config *ssh.ClientConfig, command string) error {
	conn, channels, requests, err := ssh.NewClientConn(t.line, address, config)
	if err != nil {
		return err
	}
	t.client = ssh.NewClient(conn, channels, requests)
	if t.session, err = t.client.NewSession(); err != nil {
		return err
	}
	t.session.Stderr = t.said
	if t.in, err = t.session.StdinPipe(); err != nil {
		return err
	}
	if t.out, err = t.session.StdoutPipe(); err != nil {
		return err
	}
	// Who does not let clients set variables answers in version 0.
	if strings.HasPrefix(command, transport.UploadPackServiceName) {
		if err := t.session.Setenv(versionVariable, version2); err != nil && t.line.broken.Load() != nil {
			return err
		}
	}
	return t.session.Start(command)
}

func (t *sshTalk) refs(_ context.Context, prefixes []string) (*packp.AdvRefs, error) {
	from := bufio.NewReader(t.refBand)
	two, err := speaks2(from)
	var adv *packp.AdvRefs
	switch {
	case err == nil && two:
		adv, err = t.refs2(from, prefixes)
	case err == nil:
		adv, err = version0(from)
	}
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return adv, err
	}
	if err != nil {
		return nil, t.explain(err)
	}
	return adv, nil
}

func (t *sshTalk) refs2(from io.Reader, prefixes []string) (*packp.AdvRefs, error) {
	server, err := readServer2(from)
	if err != nil {
		return nil, err
	}
	t.server = server
	if _, err := t.in.Write(server.lsRefs(prefixes)); err != nil {
		return nil, err
	}
	return readRefs(from, t.most)
}

func (t *sshTalk) fetch(_ context.Context, request *packp.UploadPackRequest) (io.ReadCloser, error) {
	if t.server != nil {
		return t.fetch2(request)
	}
	err := request.UploadRequest.Encode(t.in)
	if err == nil {
		err = request.UploadHaves.Encode(t.in, true)
	}
	if err == nil {
		err = pktline.NewEncoder(t.in).EncodeString("done\n")
	}
	if err == nil {
		err = t.in.Close()
	}
	if err != nil {
		return nil, t.explain(err)
	}
	response := packp.NewUploadPackResponse(request)
	if err := response.Decode(io.NopCloser(t)); err != nil {
		return nil, t.explain(err)
	}
	return response, nil
}

func (t *sshTalk) fetch2(request *packp.UploadPackRequest) (io.ReadCloser, error) {
	_, err := t.in.Write(t.server.fetch(request))
	if err == nil {
		err = t.in.Close()
	}
	if err == nil {
		err = toPack(t)
	}
	if err != nil {
		return nil, t.explain(err)
	}
	return io.NopCloser(t), nil
}

// Read reads what the command says, with errors that tell why.
func (t *sshTalk) Read(p []byte) (int, error) {
	n, err := t.out.Read(p)
	if err != nil && err != io.EOF || err == io.EOF && t.line.broken.Load() != nil {
		err = t.explain(err)
	}
	return n, err
}

func (t *sshTalk) push(_ context.Context, request *packp.ReferenceUpdateRequest) (*packp.ReportStatus, error) {
	if err := request.Encode(t.in); err != nil {
		return nil, t.explain(err)
	}
	if err := t.in.Close(); err != nil {
		return nil, t.explain(err)
	}
	if !request.Capabilities.Supports(capability.ReportStatus) {
		return nil, t.session.Wait()
	}
	var from io.Reader = t
	if request.Capabilities.Supports(capability.Sideband64k) {
		d := sideband.NewDemuxer(sideband.Sideband64k, t)
		d.Progress = t.said
		from = d
	}
	status := packp.NewReportStatus()
	if err := status.Decode(from); err != nil {
		return nil, t.explain(err)
	}
	return status, nil
}

// explain prefers why the line broke, and then what the command said, to the
// end of file that follows from both.
func (t *sshTalk) explain(err error) error {
	ended := errors.Is(err, io.EOF) || errors.Is(err, packp.ErrEmptyInput)
	if ended && t.session != nil {
		_ = t.session.Wait() // until all that it says on its standard error is here
	}
	said := t.said.String()
	switch broken := t.line.broken.Load(); {
	case broken != nil:
		return *broken
	case said != "":
		return fmt.Errorf("the remote says %q", cut(said, maxQuote))
	case knownhosts.IsHostKeyChanged(err):
		return errors.New("the host's key is not the one in known_hosts: it was changed, or somebody else answers")
	case ended:
		return fmt.Errorf("the remote ended the conversation: %w", io.ErrUnexpectedEOF)
	}
	return err
}

func (t *sshTalk) close() {
	t.stop()
	if t.client == nil {
		_ = t.line.Close()
		return
	}
	_ = t.client.Close() // with the session; there is nothing left to lose
	_ = t.client.Wait()
}

// quoted is a path as the shell on the other side takes it.
func quoted(path string) string {
	if rest, ok := strings.CutPrefix(path, "/~"); ok {
		path = "~" + rest
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// line is a connection that breaks when it stalls or brings too much.
type line struct {
	net.Conn
	stall       time.Duration
	limit, left int64                 // of the goroutine that reads
	broken      atomic.Pointer[error] // why
}

func (l *line) Read(p []byte) (int, error) {
	if err := l.SetReadDeadline(time.Now().Add(l.stall)); err != nil {
		return 0, err
	}
	n, err := l.Conn.Read(p)
	var timeout net.Error
	switch l.left -= int64(n); {
	case l.left < 0:
		err = fmt.Errorf("the remote's answer is over %d bytes: %w", l.limit, ErrTooLarge)
	case errors.As(err, &timeout) && timeout.Timeout():
		err = ErrStalled
	default:
		return n, err
	}
	l.broken.Store(&err)
	return n, err
}
