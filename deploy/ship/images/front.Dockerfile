ARG BASE
FROM ${BASE}
RUN rm -rf /etc/nginx/modules-enabled && mkdir -p /var/lib/nginx && chown -R 101:0 /etc/nginx /var/lib/nginx
STOPSIGNAL SIGQUIT
USER 101
CMD ["nginx", "-e", "stderr", "-g", "daemon off;"]
