package rest

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/headway-sh/headway/apiserver/write"
)

// serveConnect hands a stream over to the connector.
func (h *Handler) serveConnect(w http.ResponseWriter, r *http.Request, c *call) error {
	if h.Connector == nil {
		notFoundPage(w)
		return nil
	}
	snapshot, err := h.reader.Current(r.Context())
	if err != nil {
		return err
	}
	name := c.info.Name
	if c.info.Subresource == "proxy" { // scheme:name:port
		if _, bare, _, ok := utilnet.SplitSchemeNamePort(name); ok {
			name = bare
		}
	}
	o, ok := snapshot.Get(c.kind.Ref(c.namespace(), name))
	if !ok {
		return apierrors.NewNotFound(c.info.GroupResource(), name)
	}
	switch c.info.Subresource {
	case "exec", "attach", "portforward":
		// A WebSocket begins as a GET, but what it does is no reading.
		create := attributesOf(r, c.info)
		create.Verb = "create"
		if err := h.authorize(c.identity, create); err != nil {
			return err
		}
	}
	if err := h.admitConnect(w, r, c, name); err != nil {
		return err
	}
	return h.Connector.Connect(w, r, c.info, c.identity, o)
}

// admitConnect asks admission about a stream or a request that is handed on.
func (h *Handler) admitConnect(w http.ResponseWriter, r *http.Request, c *call, name string) error {
	asked := connectOptions(c, r.URL.Query())
	if asked == nil {
		return nil // a log is read and not connected to
	}
	done, err := h.Writer.Admit(r.Context(), c.identity, c.change("", name), write.OperationConnect, asked)
	auditOf(w).told(done.Told)
	for _, text := range done.Warnings {
		addWarning(w, text)
	}
	return err
}

// connectOptions is what a connecting request asks for, in the words of the
// API; nil for those that are not admitted.
func connectOptions(c *call, query url.Values) runtime.Object {
	flag := func(name string) bool { return query.Get(name) == "true" || query.Get(name) == "1" }
	kind := func(name string) metav1.TypeMeta { return metav1.TypeMeta{APIVersion: "v1", Kind: name} }
	switch c.info.Subresource {
	case "exec":
		return &corev1.PodExecOptions{TypeMeta: kind("PodExecOptions"), Stdin: flag("stdin"), Stdout: flag("stdout"), Stderr: flag("stderr"),
			TTY: flag("tty"), Container: query.Get("container"), Command: query["command"]}
	case "attach":
		return &corev1.PodAttachOptions{TypeMeta: kind("PodAttachOptions"), Stdin: flag("stdin"), Stdout: flag("stdout"), Stderr: flag("stderr"),
			TTY: flag("tty"), Container: query.Get("container")}
	case "portforward":
		o := &corev1.PodPortForwardOptions{TypeMeta: kind("PodPortForwardOptions")}
		for _, text := range query["ports"] {
			if port, err := strconv.ParseInt(text, 10, 32); err == nil {
				o.Ports = append(o.Ports, int32(port))
			}
		}
		return o
	case "proxy":
		switch c.kind.GVK.Kind {
		case "Pod":
			return &corev1.PodProxyOptions{TypeMeta: kind("PodProxyOptions"), Path: c.info.Tail}
		case "Service":
			return &corev1.ServiceProxyOptions{TypeMeta: kind("ServiceProxyOptions"), Path: c.info.Tail}
		case "Node":
			return &corev1.NodeProxyOptions{TypeMeta: kind("NodeProxyOptions"), Path: c.info.Tail}
		}
	}
	return nil
}

// serveToken answers a TokenRequest for a service account.
func (h *Handler) serveToken(w http.ResponseWriter, r *http.Request, c *call) error {
	if h.Issuer == nil {
		notFoundPage(w)
		return nil
	}
	if c.info.Verb != "create" {
		return c.notAllowed()
	}
	query := r.URL.Query()
	options := &metav1.CreateOptions{}
	if err := metav1.Convert_url_Values_To_v1_CreateOptions(&query, options, nil); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	o, err := h.decodeBody(w, r, authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"), validationOf(options.FieldValidation))
	if err != nil {
		return err
	}
	request, ok := o.(*authenticationv1.TokenRequest)
	if !ok {
		return fmt.Errorf("decoded a %T for a TokenRequest", o)
	}
	snapshot, err := h.reader.Current(r.Context())
	if err != nil {
		return err
	}
	if _, ok := snapshot.Get(c.kind.Ref(c.namespace(), c.info.Name)); !ok {
		return apierrors.NewNotFound(c.info.GroupResource(), c.info.Name)
	}
	request.TypeMeta = metav1.TypeMeta{APIVersion: authenticationv1.SchemeGroupVersion.String(), Kind: "TokenRequest"}
	done, err := h.Writer.Admit(r.Context(), c.identity, c.change("", c.info.Name), write.OperationCreate, request)
	auditOf(w).told(done.Told)
	for _, text := range done.Warnings {
		addWarning(w, text)
	}
	if err != nil {
		return err
	}
	issued, err := h.Issuer.Issue(snapshot, c.namespace(), c.info.Name, request)
	if err != nil {
		return err
	}
	a, err := negotiate(r, true)
	if err != nil {
		return err
	}
	h.answerObject(w, r, http.StatusCreated, a, authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"), issued)
	return nil
}
