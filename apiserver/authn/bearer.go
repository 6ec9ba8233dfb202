package authn

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// bearerProtocol begins the subprotocol in which a browser, which can set no
// header of a WebSocket but this one, sends its token.
const (
	bearerProtocol = "base64url.bearer.authorization.k8s.io."
	protocolHeader = "Sec-Websocket-Protocol"
)

// bearer takes the token out of a request: of the Authorization header, or of
// a WebSocket's subprotocols. Whoever handles the request later does not see it.
func bearer(r *http.Request) (token string, present bool, err error) {
	scheme, token, ok := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	if ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token), true, nil
	}
	if len(r.Header[protocolHeader]) == 0 || !wsstream.IsWebSocketRequest(r) {
		return "", false, nil
	}
	return protocolToken(r.Header)
}

// protocolToken takes the token out of the subprotocols. There must be another
// one: the server's answer names one of those that were offered, and that
// cannot be the token.
func protocolToken(header http.Header) (token string, present bool, err error) {
	var others []string
	for _, line := range header[protocolHeader] {
		for offered := range strings.SplitSeq(line, ",") {
			offered = strings.TrimSpace(offered)
			encoded, ok := strings.CutPrefix(offered, bearerProtocol)
			if !ok {
				others = append(others, offered)
				continue
			}
			if present {
				return "", true, errors.New("the WebSocket's subprotocols hold more than one token")
			}
			present = true
			decoded, err := base64.RawURLEncoding.DecodeString(encoded)
			if err != nil || !utf8.Valid(decoded) {
				return "", true, errors.New("the token among the WebSocket's subprotocols is not UTF-8 in base64url without padding")
			}
			token = string(decoded)
		}
	}
	switch {
	case !present:
		return "", false, nil
	case len(others) == 0:
		return "", true, errors.New("a token is the only subprotocol that the WebSocket offers")
	}
	header.Set(protocolHeader, strings.Join(others, ","))
	return token, true, nil
}
