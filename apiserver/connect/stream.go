package connect

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilproxy "k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// stream connects a client with an agent's exec, attach or port-forward.
func (c *Connector) stream(w http.ResponseWriter, r *http.Request, subresource, node string, target *url.URL) {
	w = hijacker{w}
	transport, target := c.streamTransport(node, target)
	upgrade := utilproxy.NewUpgradeAwareHandler(target, transport, false, true, c.responder())
	upgrade.UseLocationHost = true
	query := r.URL.Query()
	r = withoutCredentials(c.quietly(r.Context()), r)
	switch {
	case subresource == "portforward" && wsstream.IsWebSocketRequestWithTunnelingProtocol(r):
		proxy.NewTunnelingHandler(upgrade).ServeHTTP(w, r)
	case subresource != "portforward" && wsstream.IsWebSocketRequestWithStreamCloseProtocol(r):
		proxy.NewStreamTranslatorHandler(target, transport, 0, proxy.Options{
			Stdin: wants(query, "stdin"), Stdout: wants(query, "stdout"), Stderr: wants(query, "stderr") && !wants(query, "tty"), Tty: wants(query, "tty"),
		}).ServeHTTP(w, r)
	default:
		upgrade.ServeHTTP(w, r)
	}
}

// maxRefusal is how much of an agent's refusal goes into the answer.
const maxRefusal = 4 << 10

// log sends a container's log on. An agent's refusal becomes a Status.
func (c *Connector) log(w http.ResponseWriter, r *http.Request, node string, target *url.URL) error {
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	response, err := c.agentTransport(node).RoundTrip(request)
	if err != nil {
		c.Log.Info("agent not reached", "node", node, "path", target.Path, "error", err)
		return apierrors.NewInternalError(fmt.Errorf("the agent of node %s cannot be reached: %w", node, err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, maxRefusal)) // the code says enough
		return refusal(response.StatusCode, text)
	}
	if wsstream.IsWebSocketRequest(r) {
		// The copier loses what comes together with the end, so it gets a reader
		// that tells the end by itself.
		reader := wsstream.NewReader(bufio.NewReader(response.Body), true, wsstream.NewDefaultReaderProtocols())
		if err := reader.Copy(hijacker{w}, r); err != nil {
			c.Log.Debug("log stream ended", "node", node, "path", target.Path, "error", err)
		}
		return nil
	}
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusOK)
	_, err = io.Copy(flushing{w, http.NewResponseController(w)}, response.Body)
	if err != nil && r.Context().Err() == nil {
		c.Log.Debug("log stream broke", "node", node, "path", target.Path, "error", err)
		panic(http.ErrAbortHandler) // a broken answer must not look whole
	}
	return nil
}

// flushing hands on at once what comes.
type flushing struct {
	w       io.Writer
	control *http.ResponseController
}

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = f.control.Flush()
	}
	return n, err
}

// refusal is an agent's answer as a Status.
func refusal(code int, text []byte) error {
	message := string(text)
	for len(message) > 0 && message[len(message)-1] == '\n' {
		message = message[:len(message)-1]
	}
	switch code {
	case http.StatusBadRequest:
		return apierrors.NewBadRequest(message)
	case http.StatusNotFound:
		return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: int32(code), Reason: metav1.StatusReasonNotFound, Message: message}}
	case http.StatusUnprocessableEntity:
		return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: int32(code), Reason: metav1.StatusReasonInvalid, Message: message}}
	}
	return apierrors.NewInternalError(fmt.Errorf("the node's agent answered %d: %s", code, message))
}

// hijacker lets those take the connection over who only know http.Hijacker.
type hijacker struct{ http.ResponseWriter }

var _ http.Hijacker = hijacker{}

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(h.ResponseWriter).Hijack()
}

func (h hijacker) Unwrap() http.ResponseWriter { return h.ResponseWriter }

func (h hijacker) Flush() {
	_ = http.NewResponseController(h.ResponseWriter).Flush() // a writer that cannot will send by itself
}

// responder answers with a Status when a request could not be handed on.
type responder struct{ c *Connector }

func (c *Connector) responder() utilproxy.ErrorResponder { return responder{c} }

func (p responder) Error(w http.ResponseWriter, r *http.Request, err error) {
	status := apierrors.NewInternalError(err).ErrStatus
	if api := apierrors.APIStatus(nil); errors.As(err, &api) {
		status = api.Status()
	}
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	p.c.Log.Debug("request not handed on", "path", r.URL.Path, "error", err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(status.Code))
	if err := json.NewEncoder(w).Encode(status); err != nil {
		p.c.Log.Debug("refusal not sent", "path", r.URL.Path, "error", err)
	}
}
