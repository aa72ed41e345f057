"""The keywords that ssh_config may have: those of readconf.c in OpenSSH 7.4 to 10, and of Debian.

A line with any other keyword is one that ssh refuses, so that a mistyped ``Host`` cannot give its
settings to other hosts.
"""

from __future__ import annotations

from lmm.ssh.patterns import match_list

_CURRENT = """
addkeystoagent addressfamily batchmode bindaddress bindinterface canonicaldomains
canonicalizefallbacklocal canonicalizehostname canonicalizemaxdots canonicalizepermittedcnames
casignaturealgorithms certificatefile channeltimeout checkhostip ciphers clearallforwardings
compression connectionattempts connecttimeout controlmaster controlpath controlpersist
dynamicforward enableescapecommandline enablesshkeysign escapechar exitonforwardfailure
fingerprinthash forkafterauthentication forwardagent forwardx11 forwardx11timeout
forwardx11trusted gatewayports globalknownhostsfile gssapiauthentication
gssapidelegatecredentials hashknownhosts host hostbasedacceptedalgorithms
hostbasedauthentication hostkeyalgorithms hostkeyalias hostname identitiesonly identityagent
identityfile ignoreunknown include ipqos kbdinteractiveauthentication kbdinteractivedevices
kexalgorithms knownhostscommand localcommand localforward loglevel logverbose macs match
nohostauthenticationforlocalhost numberofpasswordprompts obscurekeystroketiming
passwordauthentication permitlocalcommand permitremoteopen pkcs11provider port
preferredauthentications proxycommand proxyjump proxyusefdpass pubkeyacceptedalgorithms
pubkeyauthentication refuseconnection rekeylimit remotecommand remoteforward requesttty
requiredrsasize revokedhostkeys securitykeyprovider sendenv serveralivecountmax
serveraliveinterval sessiontype setenv stdinnull streamlocalbindmask streamlocalbindunlink
stricthostkeychecking syslogfacility tag tcpkeepalive tunnel tunneldevice updatehostkeys user
userknownhostsfile verifyhostkeydns versionaddendum visualhostkey warnweakcrypto xauthlocation
"""
_OLDER_NAMES = """
challengeresponseauthentication dsaauthentication hostbasedkeytypes identityfile2 keepalive
pubkeyacceptedkeytypes skeyauthentication tisauthentication
"""
_WITHOUT_EFFECT = """
afstokenpassing cipher compressionlevel fallbacktorsh globalknownhostsfile2
kerberosauthentication kerberostgtpassing protocol rhostsauthentication rhostsrsaauthentication
rsaauthentication smartcarddevice useprivilegedport userknownhostsfile2 useroaming usersh
"""
_DEBIAN = """
gssapiclientidentity gssapikexalgorithms gssapikeyexchange gssapirenewalforcesrekey
gssapiserveridentity gssapitrustdns protocolkeepalives setuptimeout useblacklistedkeys
"""
KEYWORDS = frozenset(" ".join((_CURRENT, _OLDER_NAMES, _WITHOUT_EFFECT, _DEBIAN)).split())


def is_passed_over(keyword: str, ignore_unknown: str | None) -> bool:
    """Return whether IgnoreUnknown (a comma list of patterns) names this unknown keyword."""
    return ignore_unknown is not None and match_list(keyword, ignore_unknown.lower())


def nearest(keyword: str) -> str | None:
    """Return the keyword that was probably meant."""
    import difflib  # costs 5 ms, and only for a file that is refused

    return next(iter(difflib.get_close_matches(keyword, sorted(KEYWORDS), 1)), None)
